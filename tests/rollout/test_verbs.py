"""The verbs, bound to a task: what is continued, and from where."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
import pytest

from rlx import config, experiment, prompts, recipes, rollouts
from rlx.recipes import recipe as recipe_types
from rlx.rollout import config as rollout_config
from rlx.rollout import engine, forks, plan, verbs
from tests import tiny

PROMPTS = ("l", "r l", "r")


def source(*, size: int = 6):
  rows = [{"prompt": PROMPTS[i % 3], "number": i} for i in range(size)]
  return {"train": rows, "test": rows}


def right(completions, truncated, log_extra=None, **columns) -> Sequence[float]:
  """The share of r in a completion; unfinished ones get a tenth less."""
  del columns
  shares = [
    c.split().count("r") / max(len(c.split()), 1) - 0.1 * cut
    for c, cut in zip(completions, truncated, strict=True)
  ]
  if log_extra is not None:
    log_extra("process", [float(len(c.split())) for c in completions])
  return shares


TASK = prompts.PromptTask(
  data=config.spec(source), rewards=(right,), vocabulary=tiny.WORDS
)


@dataclasses.dataclass(frozen=True)
class Walk:
  """A counter that l and r move, and chance too; it pays where it stands."""

  turns: int = 3
  evidence = ("process",)

  @property
  def max_turns(self) -> int:
    return self.turns

  def num_test(self) -> int:
    return 4

  def words(self) -> tuple[str, ...]:
    return tiny.WORDS

  def episode(self, index: int, split: str) -> "Walker":
    del split
    return Walker(index)


class Walker:
  def __init__(self, index):
    self.index, self.at, self.rng = index, 0, np.random.default_rng(0)

  def reset(self, seed):
    self.at, self.rng = 0, np.random.default_rng(seed)
    return "l", {"state_key": 0}

  def step(self, action):
    self.at += action.split().count("r") + int(self.rng.integers(100)) * 100
    info = {"state_key": self.at, "evidence": {"process": 1.0}}
    return "r", float(self.at), False, False, info

  def snapshot(self):
    return self.at

  def restore(self, snapshot, seed):
    self.at, self.rng = snapshot, np.random.default_rng(seed)


def bind(task, columns=(), **fields):
  """The verbs of a task under a policy that is far from uniform."""
  caught: list[verbs.Verbs] = []

  def collect(do, prompt_ids, indices, memory):
    caught.append(do)
    return do.sample(prompt_ids, indices), memory

  spying = plan.Plan(collect, plan.whole, needs=("sample", "continue_from"))
  grpo = recipes.grpo()
  asked = dataclasses.replace(grpo, plan=spying, evidence=tuple(columns))
  chosen = experiment.TrainConfig(
    name="verbs",
    model=None,
    task=task,
    recipe=None,
    rollout=rollout_config.RolloutConfig(
      num_prompts=2,
      group_size=2,
      max_prompt_length=5,
      max_turn_length=4,
      max_completion_length=4,
      **fields,
    ),
  )
  made = rollouts.collect(
    *(chosen, asked, tuple(columns), tiny.policy(), tiny.tokenizer()),
    tiny.one_device(),
  )
  params = tiny.params(tiny.policy(), 1)
  played, memory = made.gather((params, ()), [7, 8], [0, 1], 3, "memory")
  assert memory == "memory"
  return caught[0], played


@pytest.fixture(scope="module")
def completed():
  return bind(TASK, ["process", "objective/right"])


@pytest.fixture(scope="module")
def walked():
  return bind(Walk(), ["process"])


def cut_at(played, row, kept):
  return verbs.Cut(row, played.origin[row].length + kept)


def text(do, played, row):
  """The completion of a row, its kept part included."""
  begin = played.origin[row].length
  return do.tokenizer.decode(
    played.record.tokens[row, begin : played.record.length[row]].tolist()
  )


def test_a_completion_goes_on_behind_what_was_kept(completed):
  do, played = completed
  cuts = [cut_at(played, 0, 0), cut_at(played, 2, 1), cut_at(played, 3, 1)]
  found = do.continue_from(played, cuts, 2)
  log = found.record
  assert log.tokens.shape == (6, do.shape.length)
  for place, (row, length) in enumerate(cuts):
    for at in (2 * place, 2 * place + 1):
      kept = played.record.tokens[row, :length]
      np.testing.assert_array_equal(log.tokens[at, :length], kept)
      assert not log.mask[at, :length].any()
      assert log.mask[at, length : log.length[at]].all()
      assert not log.mask[at, log.length[at] :].any()
      assert log.prompt[at] == played.record.prompt[row]
      # A completion has at most four tokens, with what was kept.
      assert log.length[at] - played.origin[row].length <= 4
      assert log.turns[at] == 1
      assert (log.segment[at] == at)[log.mask[at]].all()
  assert len({*log.sample.tolist()}) == 6


def test_the_whole_completion_is_paid(completed):
  do, played = completed
  found = do.continue_from(played, [cut_at(played, 1, 1)], 3)
  texts = [text(do, found, row) for row in range(3)]
  cut = [stop != "stop" for stop in found.stop]
  np.testing.assert_allclose(found.record.outcome(), right(texts, cut))
  lengths = [len(x.split()) for x in texts]
  np.testing.assert_allclose(found.record.columns["process"][:, 0], lengths)
  objective = found.record.columns["objective/right"][:, 0]
  np.testing.assert_allclose(objective, found.record.outcome())
  extras = found.record.steps().extras
  np.testing.assert_allclose(extras["process"], lengths)
  rewards, _ = do.score(found, [0, 1], ["r", "r l"])
  np.testing.assert_allclose(rewards, [1, 0.5])


def test_draws_depend_on_place_and_seed_and_on_nothing_else(completed):
  do, played = completed
  a, b = cut_at(played, 0, 0), cut_at(played, 3, 1)
  both = do.continue_from(played, [a, b], 2)
  turned = do.continue_from(played, [b, a], 2)
  order = [2, 3, 0, 1]
  for name in ("tokens", "log_probs", "sample", "reward"):
    np.testing.assert_array_equal(
      getattr(both.record, name), getattr(turned.record, name)[order]
    )
  again = do.continue_from(played, [a, b], 2, seed=1)
  assert {*both.record.sample}.isdisjoint({*again.record.sample})


def test_what_stays_open_is_not_scored_and_goes_on(completed):
  do, _ = completed
  begun = do.start([7, 8], [0, 1])
  assert begun.stop == ["cut", "cut"]
  cuts = [cut_at(begun, 0, 0), cut_at(begun, 1, 0)]
  first = do.continue_from(begun, cuts, 4, max_tokens=2)
  open_ = [row for row, stop in enumerate(first.stop) if stop == "cut"]
  assert open_, "the seed was chosen so that some are"
  for row in open_:
    assert first.record.mask[row].sum() == 2
    assert first.record.reward[row, 0] == 0
  ends = [verbs.Cut(row, int(first.record.length[row])) for row in open_]
  second = do.continue_from(first, ends, 1)
  assert "cut" not in second.stop
  for at, row in enumerate(open_):
    assert text(do, second, at).startswith(text(do, first, row))


def test_a_completion_is_not_cut_in_its_prompt(completed):
  do, played = completed
  with pytest.raises(ValueError, match="cut at token 0 of row 1: must be betw"):
    do.continue_from(played, [verbs.Cut(1, 0)], 1)
  with pytest.raises(ValueError, match="0 cuts, n=1: there must be 1 or more"):
    do.continue_from(played, [], 1)
  for asked in ({"max_tokens": 0}, {"max_turns": -1}):
    ((name, most),) = asked.items()
    with pytest.raises(ValueError, match=f"{name}={most}: must be 1 or more"):
      do.continue_from(played, [cut_at(played, 0, 0)], 1, **asked)


def test_an_episode_goes_on_from_where_a_turn_began(walked):
  do, played = walked
  place = played.origin[1][1]  # Before the second turn of row 1.
  found = do.continue_from(played, [verbs.Cut(1, place.length)], 3)
  log = found.record
  before = played.record
  assert place.turn == 1
  for row in range(3):
    np.testing.assert_array_equal(
      log.tokens[row, : place.length], before.tokens[1, : place.length]
    )
    assert not log.mask[row, : place.length].any()
    assert log.turns[row] == 2  # Of three, one was played.
    assert found.stop[row] == "max_turns"
    # Each goes on from where the environment stood, by a chance of its own.
    assert log.reward[row, 0] >= before.reward[1, 0]
    assert log.state[row, 0] == before.next_state[1, 0]
  assert len({*log.reward[:, 0].tolist()}) > 1


def test_an_episode_is_played_turn_by_turn(walked):
  do, _ = walked
  now = do.start([7, 8], [0, 1])
  for turn in range(3):
    cuts = [verbs.Cut(row, now.origin[row][-1].length) for row in range(2)]
    now = do.continue_from(now, cuts, 1, max_turns=1)
    assert now.stop == ["cut" if turn < 2 else "max_turns"] * 2
    assert now.record.turns.tolist() == [1, 1]
    ends = [place.turn for places in now.origin for place in places]
    assert ends == ([turn + 1] * 2 if turn < 2 else [])


def test_an_episode_is_cut_at_turns_only(walked):
  do, played = walked
  begun = [place.length for place in played.origin[0]]
  with pytest.raises(ValueError, match=rf"its turns begin at \[{begun[0]}, "):
    do.continue_from(played, [verbs.Cut(0, begun[0] + 1)], 1)
  with pytest.raises(ValueError, match="Walk are scored by being played"):
    do.score(played, [0], ["r"])


def columns(task, **fields):
  asked = dataclasses.replace(recipes.grpo(), **fields)
  return rollouts.columns(task, asked)


def test_evidence_is_asked_of_the_task_unless_somebody_else_fills_it():
  filled = plan.Plan(
    plan.sample().collect, plan.whole, columns=("value_after",)
  )
  asked = columns(
    Walk(), evidence=("process", "state", "length", "value_after"), plan=filled
  )
  assert asked == ("process",)


def test_tasks_that_lack_what_a_recipe_reads_are_refused():
  with pytest.raises(ValueError, match="grpo reads 'tool' of each step, which"):
    columns(Walk(), evidence=("tool", "process"))
  branching = plan.Plan(
    plan.sample().collect, plan.whole, needs=("sample", "continue_from")
  )
  with pytest.raises(
    ValueError, match=r"have snapshot\(\), restore\(\), and those"
  ):
    columns(tiny.Say(), plan=branching)


def test_a_step_without_the_evidence_costs_its_episode_only():
  class Silent(Walker):
    def step(self, action):
      shown, reward, over, late, info = super().step(action)
      if self.index == 1:
        del info["evidence"]
      return shown, reward, over, late, info

  class Half(Walk):
    def episode(self, index, split):
      return Silent(index)

  _, played = bind(Half(), ["process"])
  assert played.stop == ["max_turns"] * 2 + ["environment_error"] * 2


def test_recipes_are_known_by_their_type():
  assert isinstance(recipes.grpo(), recipe_types.Recipe)
  assert jax.tree.leaves(plan.sample().memory(tiny.shape())) == []


def test_nothing_tells_what_was_kept_from_what_is_read_again(
  completed, walked, monkeypatch
):
  def again(model, shape, memory, **settings):
    del memory
    return engine.make_engine(model, shape, **settings)

  monkeypatch.setattr(forks, "make_engine", again)
  for task, (do, played) in ((TASK, completed), (Walk(), walked)):
    other, same = bind(task, ["process"])
    np.testing.assert_array_equal(same.record.tokens, played.record.tokens)
    # A completion's second token, an episode's second turn.
    begun = [x if task is TASK else x[1] for x in played.origin]
    cuts = [
      verbs.Cut(row, x.length + int(task is TASK))
      for row, x in enumerate(begun)
    ]
    one = do.continue_from(played, cuts, 3).record
    two = other.continue_from(same, cuts, 3).record
    np.testing.assert_array_equal(one.tokens, two.tokens)
    np.testing.assert_allclose(one.log_probs, two.log_probs, atol=1e-5)
    np.testing.assert_array_equal(one.reward, two.reward)
