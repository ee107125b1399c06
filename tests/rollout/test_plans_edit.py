"""Plans that edit, filter and remember, with a policy that has a script.

The environments, the record and the verbs are the real ones.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from rlx import config, prompts
from rlx.envs import search
from rlx.rollout import played
from rlx.rollout.plans import (
  erasing,
  foresight,
  hinted,
  masked_agents,
  patched,
  replay,
  synthesis,
)
from tests.rollout import scripted

SIZES = {
  "num_prompts": 2,
  "group_size": 2,
  "max_prompt_length": 6,
  "max_turn_length": 5,
  "max_completion_length": 3,
}


@dataclasses.dataclass
class Play:
  """An episode of `Game`: what was done so far."""

  task: "Game"
  index: int
  done: tuple[str, ...] = ()

  def reset(self, seed: int) -> tuple[str, dict[str, Any]]:
    del seed
    self.done = ()
    return self._shown(), {"state_key": self.done}

  def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
    right = action == "abc"[(self.index + len(self.done)) % 3]
    self.done = (*self.done, action)
    over = len(self.done) == self.task.turns
    info = {"state_key": self.done, "evidence": {"matched": float(right)}}
    reward = float(right)
    if self.task.team:
      # The team wins if the last one says what the ones before said.
      info["evidence"] = {"tool": 0.5}
      reward = float(over and self.done.count(action) == self.task.team)
    return self._shown(), reward, over, False, info

  def expert_action(self) -> str:
    return "abc"[(self.index + len(self.done)) % 3]

  def role(self) -> int:
    return len(self.done) % 2

  def hint(self) -> str:
    return "yes"

  def assess(self, goal: str) -> tuple[bool, float]:
    return goal != "no", 0.5 if goal == "a" else 1.0

  def snapshot(self) -> Any:
    return self.done

  def restore(self, snapshot: Any, seed: int) -> None:
    del seed
    self.done = snapshot

  def _shown(self) -> str:
    return "xyz"[(self.index + len(self.done)) % 3]


@dataclasses.dataclass(frozen=True)
class Game:
  """Saying a, b, c in turn is right; which of them is first is the index's."""

  turns: int = 3
  team: int = 0

  @property
  def max_turns(self) -> int:
    return self.turns

  @property
  def evidence(self) -> tuple[str, ...]:
    return ("tool",) if self.team else ("matched",)

  def num_test(self) -> int:
    return 4

  def words(self) -> tuple[str, ...]:
    return tuple("abcxyz") + ("yes", "no")

  def episode(self, index: int, split: str) -> Play:
    del split
    return Play(self, index)


def right(text: str) -> str:
  """What the expert does, from what was shown last."""
  return "abc"["xyz".index(text.split("<user> ")[-1][0])]


# RAPO.


def test_a_group_that_fails_gets_its_latest_success_back(monkeypatch):
  def say(text, row, draw):
    del draw
    if now == 1 and row == 1:
      return right(text)
    return "no"

  task, now = Game(turns=2), 1
  # Three right turns of two... an outcome above 1 is a success.
  collect, memory = scripted.gather(
    monkeypatch, task, replay.replay(success_above=1.5), say, sizes=SIZES
  )
  first, memory = collect([0, 1], memory)
  assert first.record.outcome().tolist() == [0, 2, 0, 0]
  now = 2
  # The task shows the same for every third index.
  second, memory = collect([3, 4], memory)
  outcome = second.record.outcome()
  won = int(np.random.default_rng(3).integers(2))
  assert outcome.tolist() == [2.0 * (won == 0), 2.0 * (won == 1), 0, 0]
  log = second.record
  np.testing.assert_array_equal(log.tokens[won], first.record.tokens[1])
  np.testing.assert_array_equal(log.log_probs[won], first.record.log_probs[1])
  assert second.success[won]
  assert second.rewards["replay/groups"] == 0.5
  assert second.rewards["reward_before_replay"] == 0
  # What is not replayed is not remembered anew, and stays.
  third, _ = collect([6, 7], memory)
  assert third.record.outcome().max() == 2


def test_a_replayed_row_says_which_parameters_wrote_it(monkeypatch):
  task, said = Game(turns=1), "a"
  collect, memory = scripted.gather(
    monkeypatch, task, replay.replay(), lambda *_: said, sizes=SIZES
  )
  _, memory = collect([0, 1], memory)
  memory.items["version"][:] = 1  # As if two updates had gone by.
  said = "no"
  found, _ = collect([3, 4], memory)
  version = np.asarray(found.record.rollout().version)
  row = int(np.argmax(found.record.outcome()))
  assert (version[row] == 1).all()
  assert (np.delete(version, row, 0) == 3).all()
  # It goes where its row goes.
  moved = played.select(found, np.array([row, 1 - row]))
  both = played.join([moved, played.select(found, np.array([2]))])
  version = np.asarray(both.record.rollout().version)
  assert version[:, 0].tolist() == [1, 3, 3]


def test_the_memory_keeps_its_shapes_and_forgets_the_oldest(monkeypatch):
  collect, memory = scripted.gather(
    monkeypatch,
    Game(turns=1),
    replay.replay(capacity=1),
    lambda text, row, draw: right(text),
    sizes=SIZES,
  )
  _, new = collect([0, 1], memory)
  shapes = lambda x: [
    (np.shape(y), np.asarray(y).dtype) for y in jax.tree.leaves(x)
  ]
  assert shapes(new) == shapes(memory)
  assert (new.key >= 0).all()
  assert int(new.num_put) == 4


# UI-S1.


def mismatching(text, row, draw):
  """Row 0 is right, row 1 errs in turn 2 and then no more, rows 2, 3 always."""
  turn = text.count("<assistant>") - 1
  if draw:  # Row 0 is now what goes on with row 1.
    return right(text) if row == 0 else "no"
  wrong = row > 1 or (row == 1 and turn == 1)
  return "no" if wrong else right(text)


def test_the_expert_takes_the_policys_place_and_the_rest_goes_on(monkeypatch):
  task = Game()
  collect, memory = scripted.gather(
    monkeypatch,
    task,
    patched.patched(patches=1),
    lambda text, row, draw: (
      right(text) if draw else mismatching(text, row, draw)
    ),
    evidence=("matched", "index"),
    sizes=SIZES,
  )
  found, _ = collect([0, 1], memory)
  log, shown = found.record, scripted.texts(found, task)
  assert shown[0] == (
    "<user> x <assistant> a <end> <user> y <assistant> b <end> <user> z"
    " <assistant> c <end>"
  )
  # The second trajectory: its own mismatch, then on behind the expert's step.
  assert shown[2].endswith("<user> y <assistant> no <end>")
  assert shown[3].endswith("<assistant> b <end> <user> z <assistant> c <end>")
  assert log.turns.tolist() == [3, 0, 2, 1, 1, 2, 1, 2]
  assert log.mask[3].sum() == 2
  steps = log.steps()
  live = np.asarray(steps.weight) > 0
  column = lambda name: np.asarray(getattr(steps, name))[live].tolist()
  assert column("trajectory") == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
  assert column("index") == [0, 1, 2] * 4
  assert column("continues") == [1, 1, 0] * 4
  assert column("reward") == [1, 1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1]
  assert column("outcome") == [3] * 3 + [2] * 9
  np.testing.assert_allclose(column("vote"), 1 / 3)
  assert column("parent") == [-1, 0, 1, -1, 6, 7, -1, 12, 15, -1, 18, 21]
  matched = np.asarray(steps.extras["matched"])[live]
  assert matched.tolist() == column("reward")
  assert found.whole is not None
  assert found.whole.tolist() == [True, False] * 4


def test_a_mismatch_beyond_the_last_patch_ends_the_trajectory(monkeypatch):
  collect, memory = scripted.gather(
    monkeypatch,
    Game(),
    patched.patched(patches=1),
    mismatching,
    evidence=("matched", "index"),
    sizes=SIZES,
  )
  found, _ = collect([0, 1], memory)
  # Rows of trajectories 2 and 3: wrong, patched, wrong again, and over.
  assert found.record.turns.tolist()[4:] == [1, 1, 1, 1]
  # Both members of that group have the same return: nothing is learnt.
  assert not found.record.mask[4:].any()
  assert found.record.mask[:4].any()
  assert found.rewards["patch/groups_kept"] == 0.5


@pytest.mark.parametrize("patches", [0, -1])
def test_there_may_be_no_patch_or_any_number(monkeypatch, patches):
  collect, memory = scripted.gather(
    monkeypatch,
    Game(),
    patched.patched(patches=patches, threshold=-1.0),
    lambda *_: "no",
    evidence=("matched", "index"),
    sizes=SIZES,
  )
  found, _ = collect([0, 1], memory)
  turns = found.record.turns.reshape(4, -1)
  assert turns.tolist() == ([[1]] * 4 if patches == 0 else [[1, 1, 1]] * 4)
  with pytest.raises(ValueError, match="patches=-2"):
    patched.patched(patches=-2)


def test_an_expert_who_cannot_act_ends_the_trajectory(monkeypatch):
  def fail(self):
    raise RuntimeError("asleep")

  collect, memory = scripted.gather(
    monkeypatch,
    Game(),
    patched.patched(patches=1, threshold=-1.0),
    lambda *_: "no",
    evidence=("matched", "index"),
    sizes=SIZES,
  )
  monkeypatch.setattr(Play, "expert_action", fail)
  found, _ = collect([0, 1], memory)
  assert found.record.turns.tolist() == [1, 0] * 4
  assert not found.success.any()


def test_first_returns_flow_through_matches_only(monkeypatch):
  collect, memory = scripted.gather(
    monkeypatch,
    Game(),
    patched.patched(patches=0, discount=0.5, threshold=0.37),
    lambda text, row, draw: right(text) if row == 0 else "no",
    evidence=("matched", "index"),
    sizes=SIZES,
  )
  found, _ = collect([0, 1], memory)
  # 1 + .5 + .25 and 0: a deviation of .875; 0 and 0: none.
  assert found.rewards["patch/groups_kept"] == 0.5


# SHARP.


def test_what_an_agent_brought_is_what_is_lost_without_it(monkeypatch):
  task = Game(turns=3, team=2)

  def say(text, row, draw):
    turn = text.count("<assistant>") - 1
    if draw:  # The answer, again, from what is left: of whom it is seen.
      return "a" if "<assistant> a" in text else "b"
    return [["a", "b", "b"], ["a", "b", "a"]][row % 2][turn]

  collect, memory = scripted.gather(
    monkeypatch,
    task,
    masked_agents.masked_agents(),
    say,
    evidence=("role", "marginal", "tool"),
    sizes=SIZES,
  )
  found, _ = collect([0, 1], memory)
  log = found.record
  assert log.columns["role"][0].tolist() == [0, 1, 0]
  assert log.outcome().tolist() == [1, 1, 1, 1]
  # Row 0: without 0, "b" is left, and its echo wins: 0 brought nothing. Without
  # 1, "a" is left and its echo wins as well.
  np.testing.assert_array_equal(log.columns["marginal"], np.zeros((4, 3)))


def test_an_agent_without_which_the_answer_fails_brought_it_all(monkeypatch):
  task = Game(turns=3, team=2)

  def say(text, row, draw):
    del row
    turn = text.count("<assistant>") - 1
    if draw:
      return "a" if "<assistant> a" in text else "c"
    return ["a", "b", "a"][turn]

  collect, memory = scripted.gather(
    monkeypatch,
    task,
    masked_agents.masked_agents(),
    say,
    evidence=("role", "marginal", "tool"),
    sizes=SIZES,
  )
  found, _ = collect([0, 1], memory)
  assert found.record.columns["marginal"][0].tolist() == [1, 0, 1]


def test_who_only_answered_brought_the_outcome(monkeypatch):
  collect, memory = scripted.gather(
    monkeypatch,
    Game(turns=1, team=1),
    masked_agents.masked_agents(),
    lambda *_: "a",
    evidence=("role", "marginal", "tool"),
    sizes=SIZES,
  )
  found, _ = collect([0, 1], memory)
  assert found.record.columns["marginal"].tolist() == [[1.0]] * 4


# Hi-Agent.


def test_a_sub_goal_is_worth_what_is_done_with_it(monkeypatch):
  task = Game(turns=2)

  def say(text, row, draw):
    if draw == 0:  # Sub-goals: "a" of the first member, "no" of the second.
      return ["a", "no"][row % 2]
    return right(text) if "<assistant> a" in text and row % 2 == 0 else "no"

  collect, memory = scripted.gather(
    monkeypatch,
    task,
    foresight.foresight(look_ahead=2),
    say,
    evidence=("process", "role"),
    sizes=SIZES,
  )
  found, _ = collect([0, 1], memory)
  log = found.record
  assert log.columns["role"][:, 0].tolist() == [0, 1, 1] * 4
  # .1 well formed + .6 of one in two + .3 of the judge's .5; and nothing but
  # the judge's opinion.
  got = log.columns["process"][:3, 0]
  np.testing.assert_allclose(got, [0.1 + 0.3 + 0.15, 1, 0], atol=2e-5)
  np.testing.assert_allclose(log.reward[3, 0], 0.3, atol=2e-5)
  state = np.asarray(log.steps().state)
  assert state[1] == state[2] != state[4] == state[5]
  assert state[0] == state[3]
  assert found.whole is not None
  assert found.whole.sum() == 4


def test_a_sub_goal_that_ends_the_episode_has_no_actions(monkeypatch):
  collect, memory = scripted.gather(
    monkeypatch,
    Game(turns=1),
    foresight.foresight(look_ahead=2),
    lambda text, row, draw: right(text),
    evidence=("process", "role"),
    sizes=SIZES,
  )
  found, _ = collect([0, 1], memory)
  assert found.record.turns.tolist() == [1, 0, 0] * 4
  np.testing.assert_allclose(found.record.reward[0, 0], 0.25, atol=2e-5)


# Step-GUI.


def test_a_group_that_fails_is_sampled_again_with_a_hint(monkeypatch):
  task = Game(turns=2)

  def say(text, row, draw):
    del draw
    return right(text) if "yes" in text or row == 1 else "no"

  collect, memory = scripted.gather(
    monkeypatch, task, hinted.hinted(), say, evidence=("matched",), sizes=SIZES
  )
  found, _ = collect([0, 1], memory)
  log, shown = found.record, scripted.texts(found, task)
  assert log.outcome().tolist() == [0, 2, 2, 2]
  assert shown[2].startswith("<user> y <assistant> yes b <end> <user> z")
  assert "yes" not in shown[0]
  # The hint is context: the policy chose "b" and the end of its turn.
  assert log.mask[2, :6].tolist() == [False] * 4 + [True] * 2
  assert log.segment[2, :6].tolist() == [-1] * 4 + [4] * 2
  assert log.sample.tolist() == [0, 1, 0, 1]
  assert found.rewards["hint/groups"] == 0.5
  assert found.rewards["reward_before_hints"] == 0.5


def test_a_hint_needs_room_in_the_prompt(monkeypatch):
  collect, memory = scripted.gather(
    monkeypatch,
    Game(turns=1),
    hinted.hinted(),
    lambda *_: "no",
    evidence=("matched",),
    sizes={**SIZES, "max_prompt_length": 3},
  )
  with pytest.raises(ValueError, match="4 tokens, more than .*=3"):
    collect([0, 1], memory)


def test_groups_that_do_not_fail_are_left_alone(monkeypatch):
  collect, memory = scripted.gather(
    monkeypatch,
    Game(turns=1),
    hinted.hinted(),
    lambda text, row, draw: right(text),
    evidence=("matched",),
    sizes=SIZES,
  )
  found, _ = collect([0, 1], memory)
  assert found.rewards["hint/groups"] == 0


# ERL.

SEARCH = search.Search(held_out=4, turns=6, final="exact")
WIDE = {
  "num_prompts": 1,
  "group_size": 2,
  "max_prompt_length": 10,
  "max_turn_length": 16,
  "max_completion_length": 5,
}
ERL = ("information_gain", "redundancy", "sub_answer_gain")


def test_a_step_that_brought_nothing_is_written_anew(monkeypatch):
  plan = SEARCH.question(0, "train").plan()
  wrong = [plan[0], "sub ok", *plan[2:]]

  def say(text, row, draw):
    turn = text.count("<assistant>") - 1
    return (wrong if row == 1 and draw == 0 else plan)[turn]

  collect, memory = scripted.gather(
    monkeypatch, SEARCH, erasing.erasing(), say, evidence=ERL, sizes=WIDE
  )
  found, _ = collect([0], memory)
  log = found.record
  shown = scripted.texts(found, SEARCH)
  # What is left of the second row is what the first one did.
  assert shown[0] == shown[1]
  np.testing.assert_array_equal(log.mask[0], log.mask[1])
  assert log.turns.tolist() == [5, 5]
  np.testing.assert_allclose(log.outcome(), [1, 1])
  np.testing.assert_allclose(
    log.columns["sub_answer_gain"][1], [0, 0.5, 0, 0.5, 0, 0]
  )
  assert found.rewards["erase/per_trajectory"] == 0.5


def test_a_first_search_that_finds_nothing_starts_over(monkeypatch):
  plan = SEARCH.question(0, "train").plan()
  seen = []

  def say(text, row, draw):
    del row
    turn = text.count("<assistant>") - 1
    seen.append((draw, turn))
    return "search ok" if turn == 0 and draw < 2 else plan[turn]

  collect, memory = scripted.gather(
    monkeypatch,
    SEARCH,
    erasing.erasing(erasures=2),
    say,
    evidence=ERL,
    sizes=WIDE,
  )
  found, _ = collect([0], memory)
  # Draws 1 and 2 begin with the first turn again.
  assert (1, 0) in seen
  assert (2, 0) in seen
  assert found.rewards["erase/per_trajectory"] == 2
  np.testing.assert_allclose(found.record.outcome(), [1, 1])


def test_erasures_are_capped_and_the_last_attempt_stays(monkeypatch):
  collect, memory = scripted.gather(
    monkeypatch,
    SEARCH,
    erasing.erasing(erasures=3),
    lambda text, row, draw: "search ok",
    evidence=ERL,
    sizes=WIDE,
  )
  found, _ = collect([0], memory)
  assert found.rewards["erase/per_trajectory"] == 3
  assert found.record.outcome().tolist() == [-1, -1]
  assert found.record.turns.tolist() == [6, 6]


def test_without_erasures_the_batch_is_what_was_sampled(monkeypatch):
  collect, memory = scripted.gather(
    monkeypatch,
    SEARCH,
    erasing.erasing(erasures=0),
    lambda text, row, draw: "search ok",
    evidence=ERL,
    sizes=WIDE,
  )
  assert collect([0], memory)[0].rewards["erase/per_trajectory"] == 0
  with pytest.raises(ValueError, match="erasures=-1"):
    erasing.erasing(erasures=-1)


# PaCoRe.


def questions():
  rows = [{"prompt": p, "answer": "a"} for p in ("x", "y")]
  return {"train": rows, "test": rows}


def is_answer(completions, answer, **columns) -> list[float]:
  del columns
  return [float(c == a) for c, a in zip(completions, answer, strict=True)]


ASKED = prompts.PromptTask(
  data=config.spec(questions),
  rewards=(is_answer,),
  vocabulary=tuple("abxy"),
)
READ = {**SIZES, "max_prompt_length": 12, "max_turn_length": 1}


def reading(text, row, draw):
  """Messages: one in two is right for x. A synthesis: b if it reads a b."""
  if draw == 0:
    return ["a", "b"][row % 2] if "x" in text else "a"
  return ["a", "b"][row % 2]


def test_answers_are_written_after_reading_messages(monkeypatch):
  collect, memory = scripted.gather(
    monkeypatch,
    ASKED,
    synthesis.synthesis(fewest=2, most=4, easiest=0.75),
    reading,
    sizes=READ,
  )
  found, memory = collect([0, 1], memory)
  log, shown = found.record, scripted.texts(found, ASKED)
  # It is paid as an answer to the prompt, whatever was read.
  assert log.outcome().tolist() == [1, 0, 1, 0]
  assert found.rewards["synthesis/messages"] == 2
  for text, mask in zip(shown, log.mask, strict=True):
    if "x" in text:
      assert text.startswith(("<user> x a b <assistant>", "<user> x b a"))
    # Only the synthesis is chosen. All messages of y are right: it is left out.
    assert mask.sum() == (2 if "x" in text else 0)


def test_a_prompt_has_its_last_messages_and_those_that_fit(monkeypatch):
  collect, memory = scripted.gather(
    monkeypatch,
    ASKED,
    synthesis.synthesis(fewest=3, most=3, remembered=3),
    reading,
    sizes={**READ, "max_prompt_length": 5},
  )
  found, memory = collect([0, 1], memory)
  found, memory = collect([2, 3], memory)
  assert sorted(
    np.unique(memory.key[memory.key >= 0], return_counts=True)[1]
  ) == [3, 3]
  # 5 tokens: a marker, the prompt, two messages, a marker.
  assert found.rewards["synthesis/messages"] == 2


def test_a_synthesis_needs_prompts_and_an_order_of_numbers(monkeypatch):
  with pytest.raises(ValueError, match="a task of prompts"):
    scripted.gather(
      monkeypatch,
      Game(turns=1),
      synthesis.synthesis(),
      lambda *_: "a",
      sizes=SIZES,
    )
  with pytest.raises(ValueError, match="fewest=5, most=4"):
    synthesis.synthesis(fewest=5, most=4)


def test_a_conversation_is_asked_again_with_the_messages_in_its_last_turn():
  asked = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "q"},
  ]
  got = synthesis.compose(asked, ["m", "n"])
  assert got == [asked[0], {"role": "user", "content": "q\nm\nn"}]
  assert asked[1]["content"] == "q"


def test_plans_that_take_turns_refuse_completions(monkeypatch):
  with pytest.raises(ValueError, match="needs a task of episodes"):
    scripted.gather(
      monkeypatch, ASKED, foresight.foresight(), lambda *_: "a", sizes=READ
    )
