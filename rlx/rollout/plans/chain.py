"""Chains with values: what was sampled, cut into steps that are each judged."""

import collections
from collections.abc import Callable, Sequence

import numpy as np

from rlx.rollout import engine, plan, played, record, segments
from rlx.rollout import verbs as rollout_verbs
from rlx.rollout.plans import judge as judging

_NEEDS: tuple[rollout_verbs.Name, ...] = ("sample", "continue_from", "edit")
_COLUMNS = ("value_before", "value_after", "tokens")
_COLUMNS += ("prover_before", "prover_after")


def chain(
  segmenter: segments.Segmenter,
  judge: judging.Judge,
  *,
  max_steps: int,
  certain: float = float("inf"),
  prover: Callable[[rollout_verbs.Verbs], rollout_verbs.Verbs] | None = None,
) -> plan.Plan:
  """Every prompt is sampled, and every sample cut into steps with values.

  A completion is cut by the segmenter; its reward is paid on its last step. The
  steps of an episode are its turns. Columns:
    value_before, value_after  the outcome to be expected from the prefix that
      ends before, or behind, the step. The last has its trajectory's outcome
      behind it; the others the mean over continuations, and what was paid.
    tokens  that the policy chose in the step with probability below `certain`.
    prover_before, prover_after  the values to a prover, if there is one.

  Args:
    max_steps: of a completion; what the segmenter cuts finer is joined.
    prover: the verbs under other parameters.

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
    log, spent = one.record, collections.Counter(one.seconds)
    judges = {"value": do} | ({} if prover is None else {"prover": prover(do)})
    for name, other in judges.items():
      values, seconds = judging.estimate(one, other, cuts, judge)
      spent.update(seconds)
      before, after = judging.before_and_after(log, cuts, values, based)
      log.columns[f"{name}_before"] = before
      log.columns[f"{name}_after"] = after
    log.columns["tokens"] = _count(log, certain)
    return one._replace(seconds=dict(spent)), memory

  def size(shape: engine.Shape) -> plan.Size:
    turns = max_steps if shape.turns == 1 else shape.turns
    return plan.Size(shape.rows, shape.length, turns)

  def beside(shape: engine.Shape) -> int:
    cuts = shape.num_prompts + shape.rows * (size(shape).turns - 1)
    return cuts * judge.continuations * (1 if prover is None else 2)

  return plan.Plan(
    collect=collect,
    beside=beside,
    size=size,
    columns=_COLUMNS if prover else _COLUMNS[:3],
    needs=_NEEDS if judge.suffix else _NEEDS[:2],
    texts=(judge.suffix,) if judge.suffix else (),
  )


def _completions(one, do, segmenter, judge, max_steps):
  """Cuts completions: the batch with more steps, and where to judge it."""
  log = one.record
  # Where nothing more could be said, nothing can be judged.
  room = do.shape.action_tokens - len(judging.suffix_of(do, judge))
  inside, cuts, based = [], [], np.zeros(len(log.tokens), bool)
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
      judging.Judged(row, step, int(chosen[0] + x))
      for step, x in enumerate(inside[row], 1)
    ]
  begin = log.mask.argmax(1)
  return (
    one._replace(record=_divide(log, inside, max_steps)),
    _prompts(log, based, begin) + cuts,
    based,
  )


def _episodes(one: played.Played, judge: judging.Judge):
  """Returns where the turns of episodes begin."""
  log, cuts = one.record, []
  steps = log.reward.shape[1]
  based = (log.turns > 0) & judge.prompt
  for row in range(len(log.tokens)):
    for step in range(1, int(log.turns[row])):
      begin = (log.segment[row] == row * steps + step).argmax()
      cuts.append(judging.Judged(row, step, int(begin)))
  return _prompts(log, based, log.mask.argmax(1)) + cuts, based


def _prompts(log, based, begin) -> list[judging.Judged]:
  """Returns one cut for each prompt that is judged: samples share its value."""
  rows = {int(log.prompt[row]): row for row in np.flatnonzero(based)[::-1]}
  return [judging.Judged(int(row), 0, int(begin[row])) for row in rows.values()]


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


def _count(log: record.Record, certain: float) -> np.ndarray:
  """Returns how many uncertain tokens the policy chose in each step, [B, T]."""
  b, t = log.reward.shape
  chosen = log.mask & (np.exp(log.raw_log_probs) < certain)
  return np.bincount(log.segment[chosen], minlength=b * t).reshape(b, t)
