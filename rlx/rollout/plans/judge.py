"""Values of prefixes: the mean outcome of what they are continued with."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rlx.rollout import played, record, values
from rlx.rollout import verbs as rollout_verbs

SEED = 1  # The continuations are not what was sampled in the first place.


class Judge(NamedTuple):
  """How the value of a prefix is estimated.

  Attributes:
    continuations: whose mean outcome it is. One that was not finished counts 0.
    max_tokens: of one of them; None for as many as a completion may have.
    prompt: estimate the value of the prompt too. Without, the first step is
      given the value before it that it had after, unless it begins with a cut.
    suffix: text that is put behind the prefix of a completion before it goes
      on, such as one that forces an answer. Episodes go on without.
  """

  continuations: int
  max_tokens: int | None = None
  prompt: bool = False
  suffix: str = ""


class Judged(NamedTuple):
  """A prefix: of a row, before its step `step`, of `length` tokens."""

  row: int
  step: int
  length: int


def estimate(
  one: played.Played,
  do: rollout_verbs.Verbs,
  cuts: Sequence[Judged],
  judge: Judge,
) -> tuple[np.ndarray, dict[str, float]]:
  """Returns the value at each cut, and the time that it took.

  That is the mean outcome of its continuations, what was paid before the cut
  included; NaN where none could be played.
  """
  if not cuts:
    return np.zeros(0), {}
  before, places = one, [rollout_verbs.Cut(x.row, x.length) for x in cuts]
  suffix = suffix_of(do, judge)
  if suffix:
    before, places = append(one, places, suffix)
  found = values.values(
    do,
    before,
    places,
    judge.continuations,
    max_tokens=judge.max_tokens,
    seed=SEED,
  )
  paid = [one.record.reward[x.row, : x.step].sum() for x in cuts]
  return found.mean + np.array(paid), dict(found.seconds)


def append(
  one: played.Played, cuts: Sequence[rollout_verbs.Cut], ids: Sequence[int]
) -> tuple[played.Played, list[rollout_verbs.Cut]]:
  """An edit: the prefixes that end at the cuts, with tokens put behind them.

  Returns a row for each cut, and cuts at the ends of these. Nobody chose the
  tokens, so nothing is to be learnt from these rows.
  """
  rows = np.array([x.row for x in cuts])
  log = record.Record.empty(
    one.record.prompt[rows],
    one.record.sample[rows],
    length=one.record.tokens.shape[1],
    turns=1,
    version=one.record.version,
  )
  texts = [[*one.record.tokens[x.row, : x.length].tolist(), *ids] for x in cuts]
  log.observe(np.arange(len(cuts)), texts)
  edited = one._replace(
    record=log,
    success=np.zeros(len(cuts), bool),
    stop=["cut"] * len(cuts),
    parse_errors=np.zeros(len(cuts), np.int32),
    seconds={},
    origin=tuple(one.origin[x.row] for x in cuts),
    whole=None,
  )
  return edited, [
    rollout_verbs.Cut(row, int(n)) for row, n in enumerate(log.length)
  ]


def suffix_of(do: rollout_verbs.Verbs, judge: Judge) -> list[int]:
  single = do.shape.turns == 1
  wanted = single and judge.suffix
  return do.tokenizer.encode(judge.suffix) if wanted else []


def before_and_after(
  log: record.Record,
  cuts: Sequence[Judged],
  values: np.ndarray,
  based: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the values before and after each step, [B, T].

  After the last step that is the outcome. `based` [B] are rows whose first step
  has the value of its prompt before it; for the others it is what it is after.
  """
  b, t = log.reward.shape
  after, of_prompt = np.full((b, t), np.nan), {}
  for cut, value in zip(cuts, values, strict=True):
    if cut.step:
      after[cut.row, cut.step - 1] = value
    else:
      of_prompt[int(log.prompt[cut.row])] = value
  outcome = log.outcome()[:, None]
  last = np.maximum(log.turns - 1, 0)
  np.put_along_axis(after, last[:, None], outcome, 1)
  # Where nothing could be played, the trajectory's own outcome is an estimate.
  after = np.where(np.isnan(after), outcome, after)
  before = np.concatenate([after[:, :1], after[:, :-1]], 1)
  first = np.array([of_prompt.get(int(p), np.nan) for p in log.prompt])
  known = based & ~np.isnan(first)
  before[:, 0] = np.where(known, first, before[:, 0])
  exists = np.arange(t)[None] < log.turns[:, None]
  return np.where(exists, before, 0), np.where(exists, after, 0)
