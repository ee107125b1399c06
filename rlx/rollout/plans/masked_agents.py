"""SHARP: what each agent brought, by what happens without it."""

import dataclasses
import logging
from typing import Protocol, runtime_checkable

import numpy as np

from rlx.rollout import acting, edits, plan, played, verbs

_LOG = logging.getLogger(__name__)


@runtime_checkable
class Agents(Protocol):
  """What episodes have, beside, if several agents take turns in them."""

  def role(self) -> int:
    """Returns which agent acts where the episode stands, from 0."""
    ...


def masked_agents() -> plan.Plan:
  """Samples, and masks one agent of each trajectory after the other.

      marginal_m = outcome - outcome without agent m

  Without an agent means: the environment is taken back to where the agent first
  acted; in its turns it says nothing, and is paid nothing; the other agents'
  actions are taken again, as they were; and the last turn of the trajectory,
  its answer, is sampled anew from what the others said, whoever's it was. Where
  an agent wrote nothing but that answer, there is no answer without it, and its
  marginal is the outcome. So is it where the episode cannot be played without
  it.

  Fills "role" and "marginal".

  Source: SHARP, arXiv:2602.08335 [note]: one agent removed at a time, the last
  answer written anew.
  """

  def collect(do: verbs.Verbs, prompt_ids, indices, memory):
    found, roles = _roles(do.sample(prompt_ids, indices))
    log = found.record
    outcome = log.outcome()
    without: dict[tuple[int, int], float] = {}
    stages = []
    for row in np.flatnonzero(log.turns > 0).tolist():
      for role in np.unique(roles[row, : log.turns[row]]).tolist():
        paid, scene = _without(do, found, row, roles[row], role)
        without[row, role] = paid
        if scene is not None:
          stages.append((row, role, *scene))
    if stages:
      for (row, role, *_), paid in zip(
        stages, _answer(do, found, stages), strict=True
      ):
        without[row, role] += paid
    marginal = np.zeros_like(log.reward)
    for (row, role), value in without.items():
      marginal[row, roles[row] == role] = outcome[row] - value
    columns = log.columns | {"role": roles, "marginal": marginal}
    log = dataclasses.replace(log, columns=columns)
    return found._replace(record=log), memory

  return plan.Plan(
    collect,
    plan.whole,
    columns=("role", "marginal"),
    needs=("sample", "edit", "continue_from", "score"),
    asks=(Agents,),
    tasks="episodes",
  )


def _roles(found: played.Played) -> tuple[played.Played, np.ndarray]:
  """Who acted in each step; a trajectory that cannot tell is dropped."""
  log, stop = edits.copy(found.record), list(found.stop)
  roles = np.full(log.reward.shape, -1, np.int32)
  for row in np.flatnonzero(log.turns > 0).tolist():
    try:
      for turn in range(int(log.turns[row])):
        place = acting.place_of(found, row, turn)
        assert place is not None, "sample keeps all places"
        roles[row, turn] = acting.opened(place).role()
    except Exception:  # Whatever an environment raises costs only its episode.
      _LOG.warning("row %d: its agents are not known", row, exc_info=True)
      log.drop(row)
      roles[row], stop[row] = -1, "environment_error"
  return found._replace(record=log, stop=stop), roles


def _without(do, found, row, roles, role):
  """What is paid without an agent until the last turn, and where that begins.

  The place is None where there is no such turn.
  """
  log = found.record
  last = int(log.turns[row]) - 1
  masked = [t for t in range(last) if roles[t] == role]
  if not masked:
    return 0.0, None
  first = masked[0]
  place = acting.place_of(found, row, first)
  paid, tail = float(log.reward[row, :first].sum()), []
  for turn in range(first, last):
    if place is None:
      return paid, None
    silent = roles[turn] == role
    text = "" if silent else acting.text_of(log, row, turn, do.tokenizer)
    try:
      acted = acting.act(place, text, do.tokenizer)
    except Exception:  # Whatever an environment raises costs only this value.
      return 0.0, None
    paid += 0.0 if silent else acted.reward
    tail, place = tail + acted.tokens, acted.place
  if place is None:
    return paid, None
  if place.length > do.shape.length - do.shape.action_tokens:
    return 0.0, None
  return paid, (place.length - len(tail), tail, place)


def _answer(do: verbs.Verbs, found: played.Played, stages) -> list[float]:
  """Samples the last turn of each scene; returns what is paid for it."""
  if not stages:
    return []
  rows, _, kept, tails, places = zip(*stages, strict=True)
  before = acting.stage(found, rows, kept, tails, places)
  drawn = do.continue_from(before, acting.ends(before), 1, max_turns=1, seed=1)
  return drawn.record.outcome().tolist()
