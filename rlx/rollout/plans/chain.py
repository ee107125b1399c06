"""Chains with values: what was sampled, cut into steps that are each judged."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rlx.rollout import engine, plan, played, record, segments
from rlx.rollout import verbs as rollout_verbs

SEED = 1  # The continuations are not what was sampled in the first place.
UNFINISHED = ("max_tokens", "cut")
_NEEDS: tuple[rollout_verbs.Name, ...] = ("sample", "continue_from", "edit")


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


def chain(
  segmenter: segments.Segmenter,
  judge: Judge,
  *,
  max_steps: int,
  certain: float = float("inf"),
) -> plan.Plan:
  """Every prompt is sampled, and every sample cut into steps with values.

  A completion is cut by the segmenter; its reward is paid on its last step. The
  steps of an episode are its turns. Columns:
    value_before, value_after  the outcome to be expected from the prefix that
      ends before, or behind, the step. The last has its trajectory's outcome
      behind it; the others the mean over continuations, and what was paid.
    tokens  that the policy chose in the step with probability below `certain`.

  Args:
    max_steps: of a completion; what the segmenter cuts finer is joined.

  Raises:
    ValueError: max_steps or the continuations are not positive.
  """
  if max_steps < 1 or judge.continuations < 1:
    raise ValueError(
      f"max_steps={max_steps}, continuations={judge.continuations}: "
      "both must be 1 or more"
    )

  def collect(do: rollout_verbs.Verbs, prompt_ids, indices, memory):
    one = do.sample(prompt_ids, indices)
    if do.shape.turns == 1:
      one, cuts, based = _completions(one, do, segmenter, judge, max_steps)
    else:
      cuts, based = _episodes(one, judge)
    values, spent = _judge(one, do, cuts, judge)
    seconds = {k: one.seconds.get(k, 0.0) + x for k, x in spent.items()}
    log = one.record
    log.columns.update(_columns(log, cuts, values, based))
    log.columns["tokens"] = _count(log, certain)
    return one._replace(seconds={**one.seconds, **seconds}), memory

  def size(shape: engine.Shape) -> plan.Size:
    turns = max_steps if shape.turns == 1 else shape.turns
    return plan.Size(shape.rows, shape.length, turns)

  return plan.Plan(
    collect=collect,
    size=size,
    columns=("value_before", "value_after", "tokens"),
    needs=_NEEDS if judge.suffix else _NEEDS[:2],
  )


def _completions(one, do, segmenter, judge, max_steps):
  """Cuts completions: the batch with more steps, and where to judge it."""
  log = one.record
  # Where nothing more could be said, nothing can be judged.
  room = do.shape.action_tokens - len(_suffix(do, judge))
  inside, cuts, based = [], [], log.turns > 0
  for row in range(len(log.tokens)):
    chosen = np.flatnonzero(log.mask[row])
    if not len(chosen):
      inside.append(np.zeros(0, np.int64))
      continue
    found = segmenter(
      segments.Written(
        log.tokens[row, chosen], log.raw_log_probs[row, chosen], do.tokenizer
      )
    )
    found = found[(found < len(chosen)) & (found < room)]
    based[row] = judge.prompt or (len(found) > 0 and found[0] == 0)
    inside.append(segments.thin(found[found > 0], max_steps - 1))
    cuts += [
      Judged(row, step, int(chosen[0] + x))
      for step, x in enumerate(inside[row], 1)
    ]
  begin = log.mask.argmax(1)
  return (
    one._replace(record=_divide(log, inside, max_steps)),
    _prompts(log, based, begin) + cuts,
    based,
  )


def _episodes(one: played.Played, judge: Judge):
  """Returns where the turns of episodes begin."""
  log, cuts = one.record, []
  steps = log.reward.shape[1]
  based = (log.turns > 0) & judge.prompt
  for row in range(len(log.tokens)):
    for step in range(1, int(log.turns[row])):
      begin = (log.segment[row] == row * steps + step).argmax()
      cuts.append(Judged(row, step, int(begin)))
  return _prompts(log, based, log.mask.argmax(1)) + cuts, based


def _prompts(log, based, begin) -> list[Judged]:
  """Returns one cut for each prompt that is judged: samples share its value."""
  rows = {int(log.prompt[row]): row for row in np.flatnonzero(based)[::-1]}
  return [Judged(int(row), 0, int(begin[row])) for row in rows.values()]


def _divide(log: record.Record, inside: Sequence[np.ndarray], steps: int):
  """Returns a record of completions in which the cuts have made steps."""
  out = record.Record.empty(
    log.prompt,
    log.sample,
    length=log.tokens.shape[1],
    turns=steps,
    version=log.version,
    evidence=tuple(log.columns),
  )
  for name in ("tokens", "mask", "log_probs", "raw_log_probs", "length"):
    setattr(out, name, getattr(log, name))
  for row in np.flatnonzero(log.turns).tolist():
    chosen = np.flatnonzero(log.mask[row])
    last = len(inside[row])
    found = segments.ids(inside[row], len(chosen))
    out.segment[row, chosen] = row * steps + found
    out.turns[row] = last + 1
    for name in ("reward", "state", "action", "next_state"):
      getattr(out, name)[row, last] = getattr(log, name)[row, 0]
    for name, column in log.columns.items():
      out.columns[name][row, : last + 1] = column[row, 0]
  return out


def _judge(one, do, cuts, judge) -> tuple[np.ndarray, dict[str, float]]:
  """Returns the value at each cut, NaN where nothing could be played."""
  if not cuts:
    return np.zeros(0), {}
  before, places = one, [rollout_verbs.Cut(x.row, x.length) for x in cuts]
  suffix = _suffix(do, judge)
  if suffix:
    before, places = append(one, places, suffix)
  found = do.continue_from(
    before,
    places,
    judge.continuations,
    max_tokens=judge.max_tokens if do.shape.turns == 1 else None,
    seed=SEED,
  )
  outcome = found.record.outcome()
  if do.shape.turns == 1:
    outcome = np.where(np.isin(found.stop, UNFINISHED), 0.0, outcome)
  exists = found.record.turns > 0
  fold = lambda x: x.reshape(len(cuts), judge.continuations).sum(1)
  count = fold(exists.astype(np.float64))
  total = fold(np.where(exists, outcome, 0.0))
  value = np.where(count > 0, total / np.maximum(count, 1), np.nan)
  paid = [one.record.reward[x.row, : x.step].sum() for x in cuts]
  return value + np.array(paid), dict(found.seconds)


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


def _suffix(do: rollout_verbs.Verbs, judge: Judge) -> list[int]:
  single = do.shape.turns == 1
  wanted = single and judge.suffix
  return do.tokenizer.encode(judge.suffix) if wanted else []


def _columns(log, cuts, values, based) -> dict[str, np.ndarray]:
  """Returns the values before and after each step, [B, T]."""
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
  columns = {"value_before": before, "value_after": after}
  return {k: np.where(exists, x, 0) for k, x in columns.items()}


def _count(log: record.Record, certain: float) -> np.ndarray:
  """Returns how many uncertain tokens the policy chose in each step, [B, T]."""
  b, t = log.reward.shape
  chosen = log.mask & (np.exp(log.raw_log_probs) < certain)
  return np.bincount(log.segment[chosen], minlength=b * t).reshape(b, t)
