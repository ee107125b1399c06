"""A run compiles in its first steps, and never again, however ragged it is."""

import dataclasses

import numpy as np

from rlx import compiles, experiment, loop, recipes, train_state
from rlx.rollout import config as rollouts
from tests import tiny

TURNS = 10
SHAPE = tiny.shape(action_tokens=3, turns=TURNS)
FIRST_STEPS, STEADY_STEPS = 2, 5


class Searching:
  """An episode that ends where `r` is said, or after `TURNS` turns."""

  def __init__(self, index):
    self._index, self._turn = index, 0

  def reset(self, seed):
    del seed
    return tiny.WORDS[self._index % 2], {"state_key": 0}

  def step(self, action):
    self._turn += 1
    found = action == "r"
    info = {"state_key": self._turn}
    shown = " ".join(tiny.WORDS[: 1 + self._turn % 2])
    return shown, float(found), found, self._turn == TURNS, info


@dataclasses.dataclass(frozen=True)
class Search:
  def episode(self, index, split):
    del split
    return Searching(index)


def test_nothing_compiles_after_the_first_steps_of_a_ragged_run():
  log = tiny.batch(rows=SHAPE.rows, length=SHAPE.length, turns=TURNS)
  # Micro-batches have more than one length, and rows of more than one.
  trainer = tiny.make_learner(
    tiny.policy(),
    recipes.gigpo(),
    log,
    prompt=SHAPE.prompt_tokens,
    group=SHAPE.num_samples,
    num_iterations=2,
    microbatch_tokens=256,
  )
  engine = tiny.make_engine(tiny.policy(), SHAPE)
  lengths, new = [], []

  def collect(learnt, ids, indices, version, memory):
    played = tiny.play(
      engine, learnt[0], Search(), first=ids[0], version=version
    )
    lengths.append(np.sort(played.record.length))
    return played, memory

  config = experiment.TrainConfig(
    name="ragged",
    model=None,
    task=None,
    recipe=None,
    steps=FIRST_STEPS + STEADY_STEPS,
    rollout=rollouts.RolloutConfig(num_prompts=4, group_size=4),
    learner=train_state.LearnerConfig(num_iterations=2),
  )
  trainer.warm_up(None)
  with compiles.count() as counted:

    def finish(done, state):
      new.append((done.step, counted.num))
      return False

    loop.run(
      config,
      trainer,
      collect,
      tiny.start(trainer),
      None,
      finish=finish,
      not_finite=lambda done, state: None,
    )
  # No step is like another, and both lengths of micro-batches were met.
  assert len({x.tobytes() for x in lengths}) == len(lengths)
  half = -(-SHAPE.length // 2)
  assert min(x.max() for x in lengths) <= half < max(x.max() for x in lengths)
  known = dict(new)[FIRST_STEPS]
  assert known > 0
  assert [num for step, num in new if step > FIRST_STEPS] == (
    [known] * STEADY_STEPS
  )
