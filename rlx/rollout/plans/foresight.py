"""Hi-Agent: a sub-goal is scored by what is done with it one turn later."""

import dataclasses
import logging
from typing import Protocol, runtime_checkable

import numpy as np

from rlx.evidence import foresight as scores
from rlx.rollout import acting, edits, engine, plan, played, record, verbs
from rlx.rollout import game as games

_LOG = logging.getLogger(__name__)


@runtime_checkable
class Foreseen(Protocol):
  """What episodes have, beside, if their first turn proposes a sub-goal.

  The turn after it is the low level's, and pays in [0, 1] for the right action.
  """

  def assess(self, goal: str) -> tuple[bool, float]:
    """Returns whether a sub-goal is well formed, and a judge's opinion of it.

    Asked where the episode stands, before the sub-goal is given; in [0, 1].
    """
    ...


def foresight(
  *,
  look_ahead: int = 2,
  format_weight: float = 0.1,
  execution_weight: float = 0.6,
  judge_weight: float = 0.3,
) -> plan.Plan:
  """Samples sub-goals, and from each of them `look_ahead` actions.

  Nothing is played further, so that a prompt costs its sub-goals and their
  actions, and not a tree. A sub-goal (role 0, index 0) is paid the three
  weights' sum, `evidence.foresight`; an action (role 1, index 1) is paid what
  the environment says, and its state is the sub-goal it was given. Each is a
  trajectory of one step, and "process" is what it was paid.

  Args:
    look_ahead: actions for a sub-goal; of one alone a group cannot be made.
    format_weight: of a well-formed sub-goal.
    execution_weight: of what the actions were paid, in the mean.
    judge_weight: of the judge's opinion.

  Source: Hi-Agent, arXiv:2510.14388 [abstract]; inferred.

  Raises:
    ValueError: `look_ahead` is less than 1.
  """
  if look_ahead < 1:
    raise ValueError(f"look_ahead={look_ahead}: must be 1 or more")

  def size(shape: engine.Shape) -> plan.Size:
    rows = shape.rows * (1 + look_ahead)
    return plan.Size(rows, shape.length, 1)

  def score(place: played.Place, goal: str, executed: list[float]) -> float:
    well_formed, judged = acting.opened(place).assess(goal)
    return scores.foresight(
      well_formed,
      executed,
      judged,
      format_weight=format_weight,
      execution_weight=execution_weight,
      judge_weight=judge_weight,
    )

  def collect(do: verbs.Verbs, prompt_ids, indices, memory):
    begun = do.start(prompt_ids, indices)
    group = do.shape.num_samples
    goals = _propose(do, begun, group)
    open_ = [row for row, stop in enumerate(goals.stop) if stop == "cut"]
    paid = {row: [0.0] for row in range(len(goals.stop))}
    parts, at = [goals], np.full((len(goals.stop), look_ahead), -1)
    if open_:
      cuts = [(row, int(goals.record.length[row])) for row in open_]
      acts = do.continue_from(goals, cuts, look_ahead, max_turns=1)
      parts.append(acts)
      numbers = np.arange(len(acts.stop)).reshape(-1, look_ahead)
      at[open_] = len(goals.stop) + numbers
      reward = np.clip(acts.record.outcome(), 0, 1).reshape(-1, look_ahead)
      # An action whose environment failed tells nothing of its sub-goal.
      tried = (acts.record.turns > 0).reshape(-1, look_ahead)
      for row, pay, told in zip(open_, reward, tried, strict=True):
        paid[row] = pay[told].tolist()
    goals = goals._replace(
      record=edits.copy(goals.record), stop=list(goals.stop)
    )
    for row in np.flatnonzero(goals.record.turns > 0).tolist():
      goal = acting.text_of(goals.record, row, 0, do.tokenizer)
      place = acting.places(begun, row // group)[0]
      try:
        scored = games.finite(score(place, goal, paid[row]))
        goals.record.reward[row, 0] = scored
      except Exception:  # What an environment raises costs only its sub-goal.
        _LOG.warning("row %d: a sub-goal has no score", row, exc_info=True)
        goals.record.drop(row)
        goals.stop[row] = "environment_error"
    return _assemble([goals, *parts[1:]], at), memory

  return plan.Plan(
    collect,
    size,
    columns=("role", "index", "state", "process"),
    needs=("sample", "continue_from", "score"),
    asks=(Foreseen,),
    tasks="episodes",
  )


def _propose(do: verbs.Verbs, begun: played.Played, group: int):
  """A row for each sub-goal; those of a prompt that could not begin are dropped."""
  alive = np.flatnonzero(np.array(begun.stop) == "cut")
  cuts = [acting.ends(begun)[row] for row in alive]
  drawn = do.continue_from(begun, cuts, group, max_turns=1)
  at = np.zeros(len(begun.stop), np.int64)
  at[alive] = np.arange(len(alive))
  rows = (at[:, None] * group + np.arange(group)).reshape(-1)
  failed = np.repeat(np.array(begun.stop) != "cut", group)
  goals = played.select(drawn, rows)
  log = edits.drop(goals.record, np.flatnonzero(failed).tolist())
  prompt = np.repeat(begun.record.prompt, group)
  stop = np.where(failed, "environment_error", goals.stop).tolist()
  return goals._replace(
    record=dataclasses.replace(log, prompt=prompt), stop=stop
  )


def _assemble(parts: list[played.Played], at: np.ndarray) -> played.Played:
  """Every sub-goal, and behind it its actions."""
  goals = np.arange(len(at))[:, None]
  rows = np.concatenate([goals, np.where(at < 0, goals, at)], 1)
  every = played.join([part._replace(origin=()) for part in parts])
  whole = played.select(every, rows.reshape(-1))
  is_goal = np.arange(rows.size) % rows.shape[1] == 0
  missing = np.flatnonzero(
    (~is_goal).reshape(rows.shape)
    & np.concatenate([np.zeros_like(goals, bool), at < 0], 1)
  )
  log = edits.drop(whole.record, missing.tolist())
  high = np.repeat(np.flatnonzero(is_goal), rows.shape[1])
  # An action is compared with others that were given the same sub-goal.
  given = [
    record.key((int(log.state[row, 0]), int(log.action[row, 0])))
    for row in high
  ]
  role = np.where(is_goal, 0, 1)[:, None]
  state = np.where(is_goal, log.state[:, 0], given)[:, None]
  columns = {"role": role, "index": role.copy(), "state": state}
  columns["process"] = log.reward.copy()
  return whole._replace(
    record=dataclasses.replace(log, columns=log.columns | columns),
    whole=is_goal,
  )
