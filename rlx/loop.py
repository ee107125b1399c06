"""The outer loop: sample, learn, look, save.

for each step:
  played  = collect(params, prompts)       rollout on the device, envs here
  metrics of the step before are fetched   the device has long finished them
  state   = update(state, played)          dispatched, not waited for
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from rlx import experiment, learner, metrics, train_state
from rlx.rollout import refill, summary
from rlx.rollout.played import Played


class Done(NamedTuple):
  """One finished step.

  Attributes:
    step: batches learnt from, this one included.
    metrics: plain numbers, by the field's names.
    played: what was sampled.
    batch: the learner's batch, with an advantage a token; None if not asked.
  """

  step: int
  metrics: dict[str, float]
  played: Played
  batch: Any


class NotFinite(FloatingPointError):
  """Raised after `learner.max_skipped` updates in a row were not finite."""


def run(
  config: experiment.TrainConfig,
  trainer: learner.Learner,
  collect: Callable[..., tuple[Played, Any]],
  state: train_state.TrainState,
  reference: Any,
  *,
  finish: Callable[[Done, train_state.TrainState], bool],
  not_finite: Callable[[Done, train_state.TrainState], None],
) -> train_state.TrainState:
  """Runs the steps from `state.step` to `config.steps`, and returns the state.

  Args:
    collect: `((params, evidence), prompt ids, indices, version, memory) ->
      (Played, memory)`; evidence is the state of the recipe's providers.
    finish: called with each step's result and the state after it, before the
      next update is dispatched (the next rollout may be). Returns True to stop.
    not_finite: called for a skipped update; the parameters are still those that
      it was computed from.

  Raises:
    NotFinite: too many updates in a row were skipped.
  """
  pending = None
  step, cursor = int(state.step), int(state.cursor)
  memory = jax.tree.map(np.array, state.memory)
  started = time.perf_counter()
  trainer.prepare(reference)  # While the first rollout is compiled and run.
  while step < config.steps:
    seen = (state.params["policy"], state.evidence)
    played, cursor, memory = refill.collect(
      config.rollout, collect, seen, cursor, memory, version=step
    )
    if pending is not None and _settle(
      config, pending, state, finish, not_finite
    ):
      return state
    rollout, steps = refill.train_on(config.rollout, played)
    clock = time.perf_counter()
    state = dataclasses.replace(
      state,
      cursor=_like(cursor, state.cursor),
      memory=jax.tree.map(_like, memory, state.memory),
    )
    state, found, batch = trainer.update(state, reference, rollout, steps)
    step += 1
    now = time.perf_counter()
    timing = {
      "step_time": now - started,
      **{f"time/{k}": v for k, v in played.seconds.items()},
      "time/dispatch": now - clock,
    }
    started = now
    pending = (step, found, timing, played, batch)
  if pending is not None:
    _settle(config, pending, state, finish, not_finite)
  return state


def _like(new: Any, array: jax.Array) -> jax.Array:
  """Returns a number or array with the dtype and in the place of another."""
  return jax.device_put(np.array(new, array.dtype), array.sharding)


def _settle(config, pending, state, finish, not_finite) -> bool:
  """Fetches a step's metrics, and hands it on; True if the run is to stop."""
  step, found, timing, played, batch = pending
  numbers = metrics.fetch(found)
  square = numbers.pop("step/adv_square") - numbers["step/adv_mean"] ** 2
  numbers["step/adv_std"] = max(square, 0.0) ** 0.5
  numbers |= summary.measure(played)
  numbers |= timing
  done = Done(step, numbers, played, batch)
  if numbers.get("skipped", 0) > 0:
    not_finite(done, state)
    if int(state.skipped) >= config.learner.max_skipped:
      raise NotFinite(
        f"step {step}: {int(state.skipped)} updates in a row were not finite "
        f"(learner.max_skipped={config.learner.max_skipped})"
      )
  return finish(done, state)
