"""Step-GUI: where a whole group fails, it tries again with a hint."""

import dataclasses
import logging
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rlx.rollout import acting, edits, plan, played, verbs

_LOG = logging.getLogger(__name__)


@runtime_checkable
class Hinting(Protocol):
  """What episodes have, beside, if there are hints for them.

  A task of prompts has them in the column "hint" of its data instead.
  """

  def hint(self) -> str:
    """Returns words that help from where the episode stands."""
    ...


def hinted(*, failed_below: float = 0.5) -> plan.Plan:
  """Samples; a group in which all failed is sampled once more, with a hint.

  The hint stands where the first answer begins, as if the policy had begun to
  write it, but the policy did not choose it, the environment does not read it
  and it is not in the loss. The whole group is replaced, so that its members
  have one context. The learner thus sees groups of another difficulty than the
  task's: metrics of reward are those before.

  Args:
    failed_below: an outcome up to it is a failure.

  Source: Step-GUI, arXiv:2512.15431, "hint injection" into all-fail groups;
  where the hint stands is ours. [paper]
  """

  def collect(do: verbs.Verbs, prompt_ids, indices, memory):
    found = do.sample(prompt_ids, indices)
    _check_columns(found)
    group = do.shape.num_samples
    failed = _failed(found, group, failed_below)
    told = {
      "hint/groups": float(failed.mean()),
      "reward_before_hints": float(found.record.outcome().mean()),
    }
    found = found._replace(rewards={**found.rewards, **told})
    if not failed.any():
      return found, memory
    before, failed = _with_hints(do, found, failed)
    if before is None:
      return found, memory
    drawn = do.continue_from(before, acting.ends(before), group, seed=1)
    rows = np.arange(len(found.stop)).reshape(-1, group)
    rows[failed] = len(found.stop) + np.arange(len(drawn.stop)).reshape(
      -1, group
    )
    both = played.join([found._replace(whole=None), drawn])
    out = played.select(both, rows.reshape(-1))._replace(rewards=found.rewards)
    log = dataclasses.replace(out.record, sample=found.record.sample.copy())
    return out._replace(record=log), memory

  return plan.Plan(
    collect,
    plan.whole,
    needs=("sample", "edit", "continue_from"),
    asks=(Hinting,),
  )


def _failed(found: played.Played, group: int, below: float) -> np.ndarray:
  log = found.record
  lost = (log.outcome() <= below) | (log.turns == 0)
  there = log.turns.reshape(-1, group) > 0
  return lost.reshape(-1, group).all(1) & there.any(1)


def _with_hints(
  do: verbs.Verbs, found: played.Played, failed: np.ndarray
) -> tuple[played.Played | None, np.ndarray]:
  """The prompts of these groups with a hint behind each, and which have one."""
  log, group = found.record, do.shape.num_samples
  # Any member that was played tells where the prompt ends.
  played_by = (log.turns > 0).reshape(-1, group).argmax(1)
  given = failed.copy()
  rows, kept, origin, tails = [], [], [], []
  for prompt in np.flatnonzero(failed).tolist():
    row = prompt * group + int(played_by[prompt])
    begun: Any = found.origin[row]
    if not isinstance(begun, played.Start):
      begun = begun[0]
    hint = _hint(begun)
    if hint is None:
      given[prompt] = False
      continue
    rows.append(row)
    kept.append(int(edits.starts(log, row)[0]))
    tails.append(do.tokenizer.encode(hint))
    origin.append(begun._replace(length=kept[-1] + len(tails[-1])))
    _check_room(do, origin[-1].length)
  if not rows:
    return None, given
  return acting.stage(found, rows, kept, tails, origin), given


def _hint(begun: Any) -> str | None:
  """The words that help at a beginning; None where the environment fails."""
  if not isinstance(begun, played.Start):
    try:
      return acting.opened(begun).hint()
    except Exception:  # Whatever an environment raises costs only its hint.
      _LOG.warning("an environment has no hint", exc_info=True)
      return None
  return str(begun.row["hint"])


def _check_columns(found: played.Played) -> None:
  """Refuses, in the first batch, rows of a data set that have no hint."""
  for begun in found.origin:
    if isinstance(begun, played.Start) and "hint" not in begun.row:
      raise ValueError(
        f"a row has no column 'hint'; it has {', '.join(sorted(begun.row))}"
      )


def _check_room(do: verbs.Verbs, length: int) -> None:
  if length > do.shape.prompt_tokens:
    raise ValueError(
      f"a prompt with its hint has {length} tokens, more than "
      f"max_prompt_length={do.shape.prompt_tokens}; set "
      f"--rollout.max-prompt-length {length} or more"
    )
