"""The outer loop: who is called when, what a resumed one does, and what becomes
of gradients that are not finite."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import experiment, loop, metrics, nonfinite, recipes, train_state
from rlx.rollout import config as rollouts
from tests import tiny

SHAPE = tiny.shape(action_tokens=1)
TASK = tiny.Say(turns=2)


@pytest.fixture(scope="module")
def made():
  """An engine, and a learner with a value function that asks the sampler."""
  log = tiny.batch(rows=SHAPE.rows, length=SHAPE.length, turns=SHAPE.turns)
  engine = tiny.make_engine(tiny.policy(), SHAPE)
  trainer = tiny.make_learner(
    *(tiny.policy(), recipes.ppo(), log),
    value=tiny.value(),
    old_log_probs="sampler",
  )
  return engine, trainer


class Run:
  """One call of `loop.run` on the bandit, and what it has called."""

  def __init__(self, made, *, steps=5, state=None, stop_at=None, spoil=(), **c):
    self.engine, self.trainer = made
    self.stop_at, self.spoil = stop_at, spoil
    self.calls: list[tuple[str, int]] = []
    self.done: list[loop.Done] = []
    self.asked: list[tuple[list[int], int]] = []
    self.skipped: list[tuple[loop.Done, int]] = []
    self.config = experiment.TrainConfig(
      name="bandit",
      model=None,
      task=TASK,
      recipe=None,
      steps=steps,
      rollout=rollouts.RolloutConfig(num_prompts=4, group_size=4),
      learner=train_state.LearnerConfig(**c),
    )
    self.state = loop.run(
      self.config,
      self.trainer,
      self.collect,
      tiny.start(self.trainer) if state is None else state,
      None,
      finish=self.finish,
      not_finite=lambda done, state: self.skipped.append(
        (done, int(state.skipped))
      ),
    )

  def collect(self, learnt, ids, indices, version, memory):
    params, _ = learnt
    self.calls.append(("collect", version))
    self.asked.append((ids, version))
    assert ids == indices
    played = tiny.play(self.engine, params, TASK, first=ids[0], version=version)
    if version in self.spoil:
      played.record.reward[0, 0] = math.inf
    return played, memory

  def finish(self, done, state):
    self.calls.append(("finish", done.step))
    self.done.append(done)
    assert int(state.step) == done.step
    return done.step == self.stop_at


def lines(run):
  """The metrics of each step but for those that tell time."""
  return [
    {k: v for k, v in done.metrics.items() if not metrics.is_timing(k)}
    for done in run.done
  ]


@pytest.fixture(scope="module")
def straight(made):
  return Run(made)


def test_each_step_draws_new_prompts_and_says_who_wrote_them(straight):
  ids = [list(range(4 * i, 4 * i + 4)) for i in range(5)]
  assert straight.asked == [(x, version) for version, x in enumerate(ids)]
  assert [done.step for done in straight.done] == [1, 2, 3, 4, 5]
  assert int(straight.state.step) == 5
  assert int(straight.state.cursor) == 20
  versions = [done.played.record.version for done in straight.done]
  assert versions == [0, 1, 2, 3, 4]


def test_metrics_are_fetched_after_the_next_rollout_was_sampled(straight):
  assert straight.calls == [
    ("collect", 0),
    ("collect", 1),
    ("finish", 1),
    ("collect", 2),
    ("finish", 2),
    ("collect", 3),
    ("finish", 3),
    ("collect", 4),
    ("finish", 4),
    ("finish", 5),
  ]


def test_metrics_are_plain_numbers_of_learner_rollout_and_clock(straight):
  found = straight.done[0].metrics
  assert all(type(x) in (int, float) for x in found.values())
  assert {"loss", "reward", "step_time", "time/sample", "time/dispatch"} <= set(
    found
  )
  assert "step/adv_square" not in found
  advantages = np.asarray(straight.done[0].batch.advantages)
  mask = straight.done[0].played.record.mask
  assert found["step/adv_std"] == pytest.approx(
    advantages[mask].std(), rel=1e-4
  )


def test_the_sampler_says_what_the_policy_was_if_asked_to(straight):
  # A value function takes a pass before the update, which says nothing of it.
  for done in straight.done:
    log = done.played.record
    np.testing.assert_array_equal(
      np.asarray(done.batch.old_log_probs)[log.mask],
      log.raw_log_probs[log.mask],
    )
    assert done.metrics["ratio/mean"] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("at", [1, 3])
def test_a_loop_that_stops_and_goes_on_is_the_one_that_never_stopped(
  made, straight, at
):
  first = Run(made, stop_at=at)
  assert int(first.state.step) == at
  assert int(first.state.cursor) == 4 * at
  # Saved and restored: the same numbers in other buffers.
  saved = tiny.host(first.state.params), jax.tree.leaves(first.state)
  restored = jax.tree.map(jnp.copy, first.state)
  second = Run(made, state=restored)
  assert len(saved[1]) == len(jax.tree.leaves(second.state))
  assert lines(first) + lines(second) == lines(straight)
  jax.tree.map(
    np.testing.assert_array_equal,
    tiny.host(second.state),
    tiny.host(straight.state),
  )


def test_a_loop_that_is_done_does_nothing(made, straight):
  again = Run(made, state=jax.tree.map(jnp.copy, straight.state))
  assert again.calls == []
  assert int(again.state.step) == 5


# What is not finite.


def test_a_bad_step_is_handed_over_and_the_run_goes_on(made):
  run = Run(made, spoil=(1,))
  [(done, count)] = run.skipped
  assert (done.step, done.metrics["skipped"], count) == (2, 1, 1)
  assert int(run.state.skipped) == 0
  assert [x.step for x in run.done] == [1, 2, 3, 4, 5]


def test_too_many_in_a_row_stop_the_run_with_the_numbers(made):
  run = Run(made, spoil=(0, 1, 3, 4), max_skipped=3)
  assert [count for _, count in run.skipped] == [1, 2, 1, 2]
  message = r"step 4: 3 updates in a row .*learner.max_skipped=3"
  with pytest.raises(loop.NotFinite, match=message):
    Run(made, spoil=(1, 2, 3), max_skipped=3)


def test_a_dump_is_what_the_skipped_update_saw(made, tmp_path):
  run = Run(made, spoil=(2,), stop_at=3)
  [(done, _)] = run.skipped
  state = run.state
  where = nonfinite.dump(tmp_path, done, state)
  assert where == tmp_path / "nonfinite" / "step_3"
  tree = {"params": state.params, "batch": done.batch}
  found = nonfinite.load(where, tree)
  assert jax.tree.structure(found) == jax.tree.structure(tree)

  def same(got, want):
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)

  jax.tree.map(same, found, tree)
  # What was wrong is in it, and the parameters are not: those are whole.
  assert not np.isfinite(found["batch"].returns).all()
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found["params"]))
  before = Run(made, stop_at=2).state
  jax.tree.map(
    np.testing.assert_array_equal, found["params"], tiny.host(before.params)
  )
  assert (where / "metrics.json").exists()


def test_dynamic_sampling_moves_the_cursor_by_all_that_was_drawn(made):
  engine, trainer = made
  asked = []

  def collect(learnt, ids, indices, version, memory):
    asked.append(ids)
    return tiny.play(engine, learnt[0], TASK, first=ids[0]), memory

  config = experiment.TrainConfig(
    name="bandit",
    model=None,
    task=TASK,
    recipe=None,
    steps=2,
    rollout=rollouts.RolloutConfig(
      num_prompts=4, group_size=4, filter_groups=True, max_refills=1
    ),
  )
  done = []
  state = loop.run(
    config,
    trainer,
    collect,
    tiny.start(trainer),
    None,
    finish=lambda x, _: bool(done.append(x)),
    not_finite=lambda *_: None,
  )
  assert int(state.cursor) == 4 * len(asked)
  assert asked == [list(range(4 * i, 4 * i + 4)) for i in range(len(asked))]
  assert len(asked) > 2
  assert {"reward_before_filter", "refill/rollouts"} <= set(done[0].metrics)
  assert dataclasses.is_dataclass(state)
