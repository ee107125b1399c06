"""StepGame: stories that can be solved, and are paid right."""

import random

import pytest

from rlx.envs import protocol, stepgame
from rlx.envs import stepgame_story as stories

TASK = stepgame.StepGame()


def test_the_worked_example_of_the_coordinates():
  facts = [
    stories.Fact("b", "upper-right", "a"),
    stories.Fact("c", "right", "b"),
    stories.Fact("d", "below", "c"),
  ]
  places = stories.solve(facts, "a")
  assert [*places.values()] == [(0, 0), (1, 1), (2, 1), (2, 0)]
  assert stories.relation(places["d"]) == "right"
  # Told from the other side it is the same.
  turned = [stories.Fact(b, stories.opposite(r), a) for a, r, b in facts]
  assert stories.solve(turned, "a") == places


@pytest.mark.parametrize(
  ("point", "name"),
  [((0, 0), "overlap"), ((0, 3), "above"), ((-2, -1), "lower-left")],
)
def test_a_direction_has_a_name_however_far(point, name):
  assert stories.relation(point) == name
  assert stories.relation((-point[0], -point[1])) == stories.opposite(name)


def test_every_sentence_names_its_two_letters_and_the_way():
  for name in stories.RELATIONS:
    if name == "overlap":
      continue
    told = {
      stories.tell(random.Random(i), stories.Fact("X", name, "Y"))
      for i in range(300)
    }
    assert len(told) == 20
    for text in told:
      assert "X" in text
      assert "Y" in text


@pytest.mark.parametrize("kind", stepgame.NOISE)
def test_noise_changes_no_place_of_the_chain(kind):
  for index in range(40):
    task = stepgame.StepGame(hops=4, noise=4, kinds=(kind,))
    story = task.story(index, "train")
    assert len(story.facts) == len(story.sentences) == 8
    assert story.path[0] == story.asked[1]
    # Each fact agrees with the places, so the order of solving is no matter.
    for a, name, b in story.facts:
      if a in story.places:
        (x, y), (u, v) = stories.RELATIONS[name], story.places[b]
        assert story.places[a] == (u + x, v + y)
    linked = {x for fact in story.facts for x in (fact.a, fact.b)}
    assert (linked == {*story.places}) == (kind != "disconnected")


def play(actions, task=TASK, index=0):
  episode = task.episode(index, "train")
  episode.reset(0)
  return [episode.step(action) for action in actions]


def test_it_is_a_task_that_can_be_continued_and_demonstrated():
  assert isinstance(TASK, protocol.Task)
  assert isinstance(TASK, protocol.Demonstrated)
  assert isinstance(TASK.episode(0, "train"), protocol.Restorable)


def test_the_expert_places_the_chain_and_answers():
  task = stepgame.StepGame(process_reward=0.1)
  for index in range(20):
    episode = task.episode(index, "test")
    episode.reset(0)
    turns = [episode.step(episode.expert_action()) for _ in range(4)]
    for *_, info in turns:
      assert info["evidence"] == {"process": 1, "grounded": 1}
    assert [x[1] for x in turns] == [0.1] * 3 + [1.0]
    assert [x[2] for x in turns] == [False] * 3 + [True]
    assert turns[-1][4]["success"]


def test_wrong_repeated_and_foreign_places_are_no_progress():
  story = TASK.story(0, "train")
  name = story.path[1]
  x, y = story.places[name]
  foreign = next(
    c
    for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    if c not in " ".join(story.sentences)
  )
  actions = [
    f"place {name} {x + 1} {y}",
    f"PLACE {name.lower()} {x} {y}",
    f"place {name} {x} {y}",
    f"place {foreign} 0 0",
    f"place {name} x y",
  ]
  found = [info for *_, info in play(actions)]
  assert [x["evidence"]["process"] for x in found] == [0, 1, 0, 0, 0]
  assert [x["evidence"]["grounded"] for x in found] == [1, 1, 1, 0, 0]
  assert found[-1]["parse_error"]


def test_a_wrong_answer_ends_it_unpaid_and_too_many_turns_too():
  story = TASK.story(0, "train")
  wrong = next(x for x in stories.RELATIONS if x != story.answer)
  (found,) = play([f"answer {wrong}"])
  assert found[1:4] == (0, True, False)
  turns = play(["hm"] * TASK.max_turns)
  assert turns[-1][2:4] == (False, True)
  assert not turns[-1][4]["success"]


def test_an_episode_goes_on_from_a_snapshot():
  episode = TASK.episode(1, "train")
  episode.reset(0)
  episode.step(episode.expert_action())
  place, due = episode.snapshot(), episode.expert_action()
  episode.step(due)
  episode.restore(place, 1)
  assert episode.expert_action() == due


@pytest.mark.parametrize(
  ("text", "want"),
  [
    ("It is upper-left.", "upper-left"),
    ("not left but Lower Right", "lower-right"),
    ("above", "above"),
    ("leftover", None),
    ("", None),
  ],
)
def test_the_last_way_named_is_the_answer(text, want):
  assert stepgame.read_relation(text) == want


def test_rows_have_the_answer_and_are_scored():
  data = stepgame.problems(size=5)
  row = data["train"][0]
  assert "Where is" in row["prompt"]
  answers = [row["answer"]] * 2
  assert stepgame.correct_relation([row["completion"], "?"], answers) == [1, 0]
  assert (len(data["train"]), len(data["test"])) == (5, 256)
  with pytest.raises(IndexError, match="row 5 of 5"):
    data["train"][5]


def test_the_split_is_of_the_stories():
  train = {TASK.story(i, "train").text() for i in range(200)}
  assert not train & {TASK.story(i, "test").text() for i in range(50)}
  assert TASK.story(3, "train") == stepgame.StepGame().story(3, "train")


def test_demonstrations_are_as_good_as_their_skill():
  task = stepgame.StepGame(skill=1.0)
  actions = [action for _, action in task.demonstration(0, 0)]
  assert play(actions, task)[-1][4]["success"]
  assert len(stepgame.StepGame(skill=0.0).demonstration(0, 0)) == 4


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    ({"hops": 0}, "hops=0"),
    ({"hops": 20, "noise": 4}, "26 letters"),
    ({"kinds": ()}, "irrelevant, disconnected, supporting"),
    ({"held_out": 0}, "held_out=0"),
    ({"skill": -1.0}, "skill=-1.0"),
  ],
)
def test_impossible_tasks_are_refused(fields, said):
  with pytest.raises(ValueError, match=said):
    stepgame.StepGame(**fields)
