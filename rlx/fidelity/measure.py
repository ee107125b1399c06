"""Metrics: how near a credit is to the exact advantages, with intervals.

A metric is a function of sums over steps, kept per batch and prompt, so that a
bootstrap only has to weigh them.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

# Exact advantages no larger than this have no sign worth asking for.
SIGN_TOLERANCE = 0.01
RESAMPLES = 400
INTERVAL = (2.5, 97.5)

FORMULAS = {
  "rank": "sum r(A_hat) r(A) / sqrt(sum r(A_hat)^2 sum r(A)^2), r = rank within"
  " the prompt's steps / their number, less its mean; ties share their mean",
  "sign": f"mean over steps with |A| > {SIGN_TOLERANCE} of 1 if sign A_hat ="
  " sign A, 1/2 if A_hat = 0, else 0",
  "cosine": "g_hat . g / (|g_hat| |g|), g_hat = sum over steps of A_hat grad"
  " log pi(a | s), g = grad J, over the parameters of all prompts",
  "r2": "(sum A_hat A)^2 / (sum A_hat^2 sum A^2) = c^2 sum A^2 / sum A_hat^2,"
  " c = sum A_hat A / sum A^2",
  "bias": "E[(E[A_hat | x] - c A)^2] / E[A_hat^2], x = (prompt, turn, state,"
  " action): the error that stays however many batches are averaged. It is that"
  " of the credit: what depends on the state alone does not bias the gradient",
  "variance": "E[Var(A_hat | x)] / E[A_hat^2]; r2 + bias + variance = 1",
  "offset": "mean(A_hat - c A) / sqrt(mean A_hat^2): what every step gets",
}
METRICS = tuple(FORMULAS)


class Rows(NamedTuple):
  """Steps of `B` batches of `P` prompts, at most `R` each.

  Attributes:
    credit: what the recipe says of a step.
    exact: its exact advantage.
    live: whether there is a step.
    state, action: of the step.
    place: numbers (turn, state, action) within the prompt.
  """

  credit: Float[np.ndarray, "B P R"]
  exact: Float[np.ndarray, "B P R"]
  live: Bool[np.ndarray, "B P R"]
  state: Int[np.ndarray, "B P R"]
  action: Int[np.ndarray, "B P R"]
  place: Int[np.ndarray, "B P R"]


class Found(NamedTuple):
  """A metric, and what it is on data that was drawn again from the same."""

  value: float
  draws: Float[np.ndarray, " D"]

  def minus(self, other: "Found") -> "Found":
    """The difference, paired where both were drawn with one seed."""
    return Found(self.value - other.value, self.draws - other.draws)

  def summary(self) -> dict[str, float]:
    """The value with its 95% interval, as JSON values."""
    low, high = np.percentile(self.draws, INTERVAL)
    return {"value": self.value, "low": float(low), "high": float(high)}


def measure(
  rows: Rows,
  policy: Float[np.ndarray, "P N A"],
  gradient: Float[np.ndarray, "P N A"],
  rng: np.random.Generator,
) -> dict[str, Found]:
  """Each metric of `FORMULAS`, with a bootstrap.

  `rank`, `sign` and `cosine` are computed for each batch from sums over all its
  prompts, and averaged over batches; a batch whose credit is 0 everywhere has
  rank and cosine 0 and sign 1/2. The bootstrap draws batches and prompts again.
  The others are computed once from all batches; it draws prompts again.
  """
  sums = _sums(rows, policy, gradient)
  num_batches, num_prompts = rows.live.shape[:2]
  once = _metrics(sums, np.ones((1, num_batches)), np.ones((1, num_prompts)))
  draws = lambda n: rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)
  again = _metrics(sums, draws(num_batches), draws(num_prompts))
  return {k: Found(float(once[k][0]), again[k]) for k in METRICS}


def _metrics(
  sums: dict[str, np.ndarray], batches: np.ndarray, prompts: np.ndarray
) -> dict[str, np.ndarray]:
  """The metrics under each pair of weights [D, B] and [D, P]."""
  # Of each batch, then averaged over batches.
  of = {
    k: np.einsum("bp,dp->db", v, prompts)
    for k, v in sums.items()
    if v.ndim == 2
  }
  share = batches / batches.sum(1, keepdims=True)
  mean = lambda x: (x * share).sum(1)
  angle = lambda k: _ratio(
    of[f"{k}_xy"], np.sqrt(of[f"{k}_xx"] * of[f"{k}_yy"])
  )
  out = {
    "rank": mean(angle("rank")),
    "cosine": mean(angle("gradient")),
    "sign": mean(_ratio(of["sign_hits"], of["sign_steps"])),
  }
  # Of all batches together.
  place = {k: prompts @ v for k, v in sums.items() if v.ndim == 1}
  scale = _ratio(place["xy"], place["yy"])
  signal = scale**2 * place["yy"]
  systematic = place["mm"] - 2 * scale * place["xy"] + signal - place["spread"]
  out["r2"] = _ratio(signal, place["xx"])
  out["bias"] = _ratio(systematic, place["xx"])
  out["variance"] = _ratio(place["noise"], place["xx"])
  rest = _ratio(place["x"] - scale * place["y"], place["n"])
  out["offset"] = _ratio(rest, np.sqrt(_ratio(place["xx"], place["n"])))
  return out


def _ratio(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """x / y, and 0 where y is 0."""
  return np.where(y > 0, x / np.where(y > 0, y, 1.0), 0.0)


def _sums(
  rows: Rows, policy: np.ndarray, gradient: np.ndarray
) -> dict[str, np.ndarray]:
  """Sums per batch and prompt [B, P], and those over batches [P]."""
  live = rows.live
  x = np.where(live, rows.credit, 0.0)
  y = np.where(live, rows.exact, 0.0)
  # Without what float32 leaves of equal numbers, and of 0.
  unit = 1e-6 * max(np.abs(x).max(), 1e-30)
  x, y = unit * np.round(x / unit), np.round(y, 12)
  out = _by_pair("rank", _ranks(x, live), _ranks(y, live))
  clear = live & (np.abs(y) > SIGN_TOLERANCE)
  hits = np.where(x == 0, 0.5, np.sign(x) == np.sign(y))
  out["sign_hits"] = np.where(clear, hits, 0.0).sum(-1)
  out["sign_steps"] = clear.sum(-1).astype(float)
  shape = (*live.shape[:2], -1)
  estimated = score(x, rows, policy).reshape(shape)
  truth = np.broadcast_to(gradient, (len(x), *gradient.shape)).reshape(shape)
  out |= _by_pair("gradient", estimated, truth)
  return out | _places(rows._replace(credit=x, exact=y))


def _by_pair(name: str, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
  pairs = {"xx": (x, x), "xy": (x, y), "yy": (y, y)}
  return {f"{name}_{k}": (a * b).sum(-1) for k, (a, b) in pairs.items()}


def score(
  credit: np.ndarray, rows: Rows, policy: np.ndarray
) -> Float[np.ndarray, "B P N A"]:
  """Sum over steps of the credit times grad log pi(a | s), by the logits.

  sum over steps in s of A_hat (1[a] - pi(. | s))
  """
  out = np.zeros((len(credit), *policy.shape))
  b, p, _ = np.ogrid[tuple(slice(n) for n in credit.shape)]
  np.add.at(out, (b, p, rows.state, rows.action), credit)
  return out - out.sum(-1, keepdims=True) * policy


def _ranks(x: np.ndarray, live: np.ndarray) -> np.ndarray:
  """Centred fractional ranks within the last axis; ties share their mean."""
  shape, size = x.shape, x.shape[-1]
  x, live = x.reshape(-1, size), live.reshape(-1, size)
  order = np.argsort(np.where(live, x, np.inf), -1, kind="stable")
  ordered = np.take_along_axis(np.where(live, x, np.inf), order, -1)
  starts = np.ones(ordered.shape, bool)
  starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
  run = np.cumsum(starts.reshape(-1)) - 1
  place = np.broadcast_to(np.arange(size), ordered.shape).reshape(-1)
  mean = np.bincount(run, place) / np.bincount(run)
  ranks = np.empty(ordered.shape)
  np.put_along_axis(ranks, order, mean[run].reshape(ordered.shape), -1)
  count = np.maximum(live.sum(-1, keepdims=True), 1)
  centred = (ranks - (count - 1) / 2) / count
  return np.where(live, centred, 0.0).reshape(shape)


def _places(rows: Rows) -> dict[str, np.ndarray]:
  """Sums over the places of each prompt, from all batches.

  A place met once says nothing of the variance there and is left out.
  """
  num_prompts = rows.live.shape[1]
  found = []
  for p in range(num_prompts):
    live = rows.live[:, p]
    at, x, y = (c[:, p][live] for c in (rows.place, rows.credit, rows.exact))
    n = np.bincount(at)
    enough = n >= 2
    n = n[enough].astype(float)
    total, square, exact = (np.bincount(at, v)[enough] for v in (x, x * x, y))
    within = np.maximum(square - total**2 / n, 0.0) / (n - 1)
    found.append(
      {
        "n": n.sum(),
        "x": total.sum(),
        "y": exact.sum(),
        "xx": square.sum(),
        "xy": (total * exact / n).sum(),
        "yy": (exact**2 / n).sum(),
        "mm": (total**2 / n).sum(),
        "spread": within.sum(),
        "noise": (n * within).sum(),
      }
    )
  return {k: np.array([f[k] for f in found], float) for k in found[0]}
