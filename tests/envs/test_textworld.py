"""TextWorld: its games are episodes that can be won and gone back in."""

import pytest

from rlx.envs import extras, protocol, textworld, textworld_episode

needed = [
  pytest.mark.skipif(
    not extras.installed("textworld"), reason="textworld is an extra"
  ),
  # It leaves the files of its games open.
  pytest.mark.filterwarnings("ignore"),
]
marked = lambda f: needed[0](needed[1](f))


class Door:
  """An engine of TextWorld's shape: open the door, then go."""

  def reset(self):
    self.at = 0
    return self._state("A door.\n\n\n\n>   -= Room =-0/1")

  def step(self, command):
    right = [["open door", "go"][self.at]] if self.at < 2 else []
    self.at += command in right
    words = "Well." if command in right else "What?"
    return self._state(words), self._score(), self.at == 2

  def _score(self):
    return 3 if self.at == 2 else None

  def _state(self, words):
    # What an engine does not know, it does not have.
    return {
      "feedback": words,
      "admissible_commands": ["go", "look", "open door"],
      "policy_commands": ["open door", "go"][self.at :],
      "_facts": [("open", self.at)],
      "won": self.at == 2,
      **({"score": 3, "max_score": 3} if self.at == 2 else {}),
    }


def door(turns=4, show_commands=False):
  return textworld_episode.GameEpisode(
    Door, turns=turns, show_commands=show_commands
  )


def test_a_game_is_an_episode_that_can_be_continued():
  assert isinstance(door(), protocol.Episode)
  assert isinstance(door(), protocol.Restorable)
  assert isinstance(textworld.TextWorld(), protocol.Task)
  assert isinstance(textworld.TextWorld(), protocol.Demonstrated)


def test_the_way_to_win_is_paid_at_its_end_and_each_step_is_progress():
  episode = door()
  shown, _ = episode.reset(0)
  assert shown == "A door."
  turns = [episode.step(episode.expert_action()) for _ in range(2)]
  assert [x[1] for x in turns] == [0, 1]
  assert [x[4]["evidence"]["process"] for x in turns] == [1, 1]
  assert turns[-1][2:4] == (True, False)
  assert turns[-1][4]["success"]


def test_what_is_not_understood_is_answered_and_counted():
  episode = door(turns=2)
  episode.reset(0)
  found = episode.step("dance\nopen door")
  assert found[0] == "What?"
  assert found[4]["parse_error"]
  assert found[4]["evidence"] == {"process": 0, "grounded": 0}
  found = episode.step("look")
  assert not found[4]["parse_error"]
  assert found[2:4] == (False, True)
  assert not found[4]["success"]


def test_a_snapshot_is_played_again_and_equal_worlds_have_equal_keys():
  episode = door()
  _, first = episode.reset(0)
  episode.step("open door")
  place = episode.snapshot()
  after = episode.step("look")[4]["state_key"]
  episode.step("go")
  other = door()
  other.restore(place, 5)
  assert other.expert_action() == "go"
  assert other.step("look")[4]["state_key"] == after != first["state_key"]


def test_what_can_be_done_is_shown_where_it_is_asked_for():
  assert (
    door(show_commands=True)
    .reset(0)[0]
    .endswith("You can: go, look, open door.")
  )


def test_demonstrations_are_the_experts_at_times():
  actions = textworld.demonstrate(door(), 1.0, 0, 0)
  assert [a for _, a in actions] == ["open door", "go"]
  assert len(textworld.demonstrate(door(), 0.0, 1, 0)) <= 4


def test_the_frame_around_the_words_is_taken_off():
  text = "\n\n   |  \\ $$ __/\n  \\$$>\n\nYou win.\n\n\n\nWould you like to RESTART?\n> "
  assert textworld_episode.clean(text) == "You win."


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    ({"rooms": 0}, "rooms=0"),
    ({"skill": 2.0}, "skill=2.0"),
    ({"files": ("old.ulx",)}, "old.ulx is a Glulx game"),
    ({"test_files": ("a.z8",)}, "no files to learn from"),
  ],
)
def test_impossible_tasks_are_refused(fields, said):
  with pytest.raises(ValueError, match=said):
    textworld.TextWorld(**fields)


def test_a_game_that_there_is_not_is_told():
  task = textworld.TextWorld(files=("nowhere.z8",))
  with pytest.raises(ValueError, match=r"there is no nowhere\.z8"):
    task.file(0, "train")


@marked
def test_a_generated_game_is_won_by_its_plan_and_gone_back_in(tmp_path):
  task = textworld.TextWorld(
    directory=str(tmp_path), rooms=1, objects=2, quest=2
  )
  episode = task.episode(0, "train")
  shown, info = episode.reset(0)
  assert "$$" not in shown
  assert "You can: " in shown
  place, first = episode.snapshot(), episode.expert_action()
  assert first in episode.actions()
  told = episode.step(first)
  assert told[4]["state_key"] != info["state_key"]
  found = told
  while not found[2]:
    found = episode.step(episode.expert_action())
    assert found[4]["evidence"]["process"] == 1
  assert found[1] == 1
  assert found[4]["success"]
  assert "RESTART" not in found[0]
  episode.restore(place, 3)
  assert episode.step(first) == told
  # It is made once, and played from its file.
  (game,) = tmp_path.glob("*.z8")
  again = textworld.TextWorld(files=(str(game),)).episode(5, "test")
  assert again.reset(1)[0] == shown
