"""ERL: a step that brought nothing is erased, and written anew."""

import logging
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from rlx import tokenizer as tokenizers
from rlx.evidence import retrieval
from rlx.rollout import acting, edits, plan, played, rows, verbs

_LOG = logging.getLogger(__name__)

Phase = Literal["search", "sub_answer", "other"]


@runtime_checkable
class Phased(Protocol):
  """What episodes have, beside, if their steps can be erased."""

  def phase(self, action: str) -> Phase:
    """Returns what an action is, whatever the state: its form alone counts."""
    ...


def erasing(
  *, erasures: int = 2, alpha: float = 0.0, beta: float = 0.0
) -> plan.Plan:
  """Samples, and redoes each trajectory from before its first bad step.

  `retrieval.erasure` says which step is bad and what is erased with it. What
  was erased is neither in the context nor in the loss. A trajectory is redone
  `erasures` times at the most; then it stays as it is. Whether a step is bad
  depends on nothing that comes after it, so that a whole trajectory can be
  written before its first bad step is looked for.

  Args:
    erasures: of one trajectory.
    alpha: gains up to it are none.
    beta: the same of the first search.

  Source: ERL, arXiv:2510.00861 [note]. A cap is asked for there; its number and
  the thresholds are ours.

  Raises:
    ValueError: `erasures` is negative.
  """
  if erasures < 0:
    raise ValueError(f"erasures={erasures} is negative")

  def collect(do: verbs.Verbs, prompt_ids, indices, memory):
    found = do.sample(prompt_ids, indices)
    erased = 0
    for turn in range(erasures):
      cuts = _cuts(found, do.tokenizer, alpha, beta)
      if not cuts:
        break
      erased += len(cuts)
      drawn = do.continue_from(found, cuts, 1, seed=turn + 1)
      found = rows.splice(found, cuts, drawn)
    told = {"erase/per_trajectory": erased / max(len(found.stop), 1)}
    return found._replace(rewards={**found.rewards, **told}), memory

  return plan.Plan(
    collect,
    plan.whole,
    needs=("sample", "edit", "continue_from"),
    asks=(Phased,),
    tasks="episodes",
  )


def _cuts(
  found: played.Played,
  tokenizer: tokenizers.Tokenizer,
  alpha: float,
  beta: float,
) -> list[tuple[int, int]]:
  cuts = []
  for row in np.flatnonzero(found.record.turns > 0).tolist():
    try:
      turn = _first_bad(found, row, tokenizer, alpha, beta)
    except Exception:  # What an environment raises leaves its episode as it is.
      _LOG.warning("row %d: its phases are not known", row, exc_info=True)
      continue
    if turn is not None:
      cuts.append((row, int(edits.starts(found.record, row)[turn])))
  return cuts


def _first_bad(found, row, tokenizer, alpha, beta) -> int | None:
  """The turn from which a row is redone; None where nothing is erased."""
  log = found.record
  column = {name: x[row] for name, x in log.columns.items()}
  episode = acting.opened(acting.places(found, row)[0])
  step, begun = -1, 0
  for turn in range(int(log.turns[row])):
    phase = episode.phase(acting.text_of(log, row, turn, tokenizer))
    if phase == "other":
      continue
    if phase == "search":
      step, begun = step + 1, turn
      gain = column["information_gain"][turn] - column["redundancy"][turn]
    else:
      gain = column["sub_answer_gain"][turn]
    found_bad = retrieval.erasure(
      phase, max(step, 0), float(gain), alpha=alpha, beta=beta
    )
    if found_bad is not None:
      return {"step": begun, "search": turn, "restart": 0}[found_bad]
  return None
