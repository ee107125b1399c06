"""Household tasks: drawn here, played by the rules of the alfworld package."""

import random
import re
from concurrent import futures

import pytest

from rlx.envs import alfworld, extras, protocol
from rlx.envs import alfworld_problem as problems

TASK = alfworld.AlfWorld()
needed = pytest.mark.skipif(
  not (extras.installed("alfworld") and extras.installed("fast_downward")),
  reason="alfworld is an extra",
)


def test_it_is_a_task_with_demonstrations():
  assert isinstance(TASK, protocol.Task)
  assert isinstance(TASK, protocol.Demonstrated)


@pytest.mark.parametrize("kind", problems.KINDS)
def test_problems_are_whole_and_not_solved_yet(kind):
  for seed in range(20):
    found = problems.draw(random.Random(seed), kind, 5)
    assert found.pddl.count("(") == found.pddl.count(")")
    declared = {*re.findall(r"[\w]+_\d+", found.pddl.partition("(:init")[0])}
    assert {*re.findall(r"[\w]+_\d+", found.pddl)} == declared
    if kind not in ("look",):
      # Nothing of the target's kind holds what is to be put there.
      *_, thing, _, target = found.goal.split()
      assert f"(inReceptacle {thing}_1 {target}" not in found.pddl


def test_the_split_is_of_the_problems_and_draws_do_not_change():
  train = {TASK.problem(i, "train") for i in range(40)}
  assert not train & {TASK.problem(i, "test") for i in range(8)}
  assert TASK.problem(3, "train") == alfworld.AlfWorld().problem(3, "train")


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    ({"kinds": ()}, "must be some of pick, clean"),
    ({"things": 1}, "things=1"),
    ({"skill": 2.0}, "skill=2.0"),
  ],
)
def test_impossible_tasks_are_refused(fields, said):
  with pytest.raises(ValueError, match=said):
    alfworld.AlfWorld(**fields)


@needed
@pytest.mark.filterwarnings("ignore")
def test_a_household_task_is_done_by_its_plan_and_gone_back_in():
  task = alfworld.AlfWorld(kinds=("clean",), things=2)
  episode, other = task.episode(0, "test"), task.episode(1, "test")
  shown, _ = episode.reset(0)
  other.reset(0)  # Two houses at once do not disturb each other.
  assert "Your task is to: put a clean" in shown
  told = episode.step("fly")
  assert told[0].startswith("Nothing happens.")
  assert told[4]["parse_error"]
  place, found = episode.snapshot(), told
  for _ in range(2):
    for _ in range(12):
      action = episode.expert_action()
      assert action in episode.actions()
      found = episode.step(action)
      assert found[4]["evidence"] == {"process": 1, "grounded": 1}
      if found[2]:
        break
    assert found[1] == 1
    assert found[4]["success"]
    episode.restore(place, 1)


@needed
@pytest.mark.filterwarnings("ignore")
def test_houses_in_several_threads_are_as_they_are_alone():
  task = alfworld.AlfWorld(things=2)

  def first(index):
    episode = task.episode(index, "train")
    shown, _ = episode.reset(0)
    return shown, episode.step(episode.expert_action())

  alone = [first(0), first(1)]
  with futures.ThreadPoolExecutor(2) as threads:
    assert [*threads.map(first, [0, 1])] == alone
