"""From gradients to a verdict: unbiased, scaled, or biased and by how much."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from rlx.ledger import batches

Bias = Literal["unbiased", "scaled", "biased"]

# Beyond this, relative to the true gradient, a difference is none of rounding.
TOLERANCE = 1e-9


class Comparison(NamedTuple):
  """An expected gradient beside the true one.

  Attributes:
    mdp, policy, group, batch: the case; `batch` counts trajectories.
    factor: of the true gradient in the expected one, <g, t> / <t, t>.
    angle: between them in degrees; None where the expected one vanishes.
    state: the decision at which they differ the most, by the logits of which it
      is shown.
  """

  mdp: str
  policy: str
  group: int
  batch: int
  factor: float
  angle: float | None
  state: str


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What all comparisons of a recipe come to.

  Attributes:
    bias: "unbiased": equal everywhere. "scaled": parallel everywhere, and in
      the same direction. Else "biased".
    factor: in words, as "(G-1)/G" of the group size or "(n-1)/n" of the batch;
      a range where it depends on the process or the policy.
    angle: the largest one in degrees.
    worst: the case where it is, and the state that shows it, as
      "chain/even/2 at a".
    vanishes: processes on which nothing is left of the gradient.
  """

  bias: Bias
  factor: str
  angle: float
  worst: str
  vanishes: tuple[str, ...]


def compare(
  case: batches.Case, true: np.ndarray, got: np.ndarray
) -> Comparison:
  """Returns the comparison of two gradients [D A]."""
  size = np.linalg.norm(true)
  factor = float((got * true).sum() / size**2)
  rest = got - factor * true
  off = np.linalg.norm(rest) / size
  angle: float | None = float(np.degrees(np.arctan2(off, factor)))
  if np.linalg.norm(got) <= TOLERANCE * size:
    factor, angle = 0.0, None
  elif off <= TOLERANCE:
    angle = 0.0 if factor > 0 else 180.0
  shown = np.linalg.norm(rest if off > TOLERANCE else true, axis=1)
  listed = case.known.listed
  # Where two are as large, the first: not what rounding makes of it.
  state = int(np.argmax(np.round(shown / shown.max(), 6)))
  return Comparison(
    mdp=listed.mdp.name,
    policy=case.known.policy,
    group=case.group,
    batch=case.group * len(listed.mdp.starts),
    factor=factor,
    angle=angle,
    state=listed.decisions[state],
  )


def judge(comparisons: Sequence[Comparison]) -> Verdict:
  """Returns what they come to."""
  parallel = all(c.angle == 0 for c in comparisons)
  vanishes = dict.fromkeys(c.mdp for c in comparisons if c.angle is None)
  factor = _word(comparisons)
  if parallel:
    bias = "unbiased" if factor == "1" else "scaled"
    return Verdict(bias, factor, 0.0, "", ())
  # Ninety degrees stand for a gradient that vanishes: it is of no use either.
  angle = lambda c: 90.0 if c.angle is None else round(c.angle, 6)
  worst = max(comparisons, key=angle)
  return Verdict(
    bias="biased",
    factor=factor,
    angle=angle(worst),
    worst=(
      f"{worst.mdp}/{worst.policy}/{worst.group} at {worst.state}"
      if angle(worst)
      else ""
    ),
    vanishes=tuple(vanishes),
  )


def _word(comparisons: Sequence[Comparison]) -> str:
  """The factor as a formula where it is one in all cases, or its range."""
  formulas = {
    "": lambda c: 1.0,
    "(G-1)/G": lambda c: (c.group - 1) / c.group,
    "G/(G-1)": lambda c: c.group / (c.group - 1),
    "(n-1)/n": lambda c: (c.batch - 1) / c.batch,
  }
  for name, f in formulas.items():
    rest = [c.factor / f(c) for c in comparisons]
    if max(rest) - min(rest) <= 10 * TOLERANCE * abs(rest[0]):
      times = f"{rest[0]:.6g}"
      return times if not name else name if times == "1" else f"{times} {name}"
  # Rounded first, so that a half is not what the last bits make of it.
  factors = [round(c.factor, 6) + 0.0 for c in comparisons]
  return f"{min(factors):.2f} to {max(factors):.2f}"
