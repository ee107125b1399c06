"""`rlx play`: a person steps through an episode, at a terminal or through a pipe."""

import dataclasses
import io
import re
import time

import pytest

from rlx import cli
from rlx.commands import asking, play, playing


@pytest.fixture
def typed(monkeypatch, capsys):
  """Plays with lines as they come through a pipe; returns code and output."""

  def run(lines, *arguments):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    code = cli.run(["play", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  return run


def way() -> list[str]:
  """What the expert does on the first lake."""
  task = playing.find("frozen-lake").task
  live = playing.episode(task, 0, "train")
  _, player = playing.player(task, live, 0, "train", 0)
  return [turn.done for turn in playing.play(task, live, player, 0).turns]


def test_the_end_of_an_episode_is_told(typed):
  code, out, err = typed(way(), "frozen-lake")
  assert (code, err) == (0, "")
  assert out.startswith("frozen-lake, train 0; :help says what you can type\n")
  assert "turn 1/12> " in out
  assert "[left, down, right, up]" in out
  assert "reward +1.00, +1.00 so far; process 1; matched 1; grounded 1" in out
  assert out.endswith(
    f"success (completed) after {len(way())} turns, reward +1.00\n"
  )


def test_a_turn_is_taken_back(typed):
  wrong = ["UNDO", "jump", ":undo", "undo", *way()]
  code, out, _ = typed(wrong, "frozen-lake")
  assert code == 0
  assert out.count("this is the beginning") == 2
  assert "reward -0.10, -0.10 so far" in out
  assert "could not be read" in out
  # What was taken back is not in the outcome.
  assert f"after {len(way())} turns, reward +1.00" in out


@pytest.mark.parametrize(
  "lines", [[], ["down", "quit", "down"], ["down", ":quit"]]
)
def test_an_episode_may_be_left(typed, lines):
  code, out, _ = typed(lines, "frozen-lake")
  num = len(lines[:1])
  assert code == 0
  turns = "1 turn" if num else "0 turns"
  assert out.endswith(f"no outcome (left) after {turns}, reward +0.00\n")


def test_hints_and_help_cost_no_turn(typed):
  _, out, _ = typed(["hint", "help", "", "quit"], "frozen-lake")
  assert f"[{way()[0]}]" in out
  assert "usage: rlx play" in out
  assert "turn 2/" not in out
  _, out, _ = typed(["hint"], "cartpole")
  assert "[nobody knows]" in out


def test_a_demonstration_is_a_hint_while_it_is_followed(typed):
  task = playing.find("sokoban").task
  actions = [action for _, action in task.demonstration(0, 0)]
  _, out, _ = typed([actions[0], "hint"], "sokoban")
  assert f"  [{actions[1]}]\n" in out
  _, out, _ = typed(["jump", "hint"], "sokoban")
  assert "rlx envs sokoban shows a demonstration]" in out


MINE = """
import dataclasses
from rlx.configs import quickstart
from tests.commands import test_play
def get_config():
  task = test_play.Mine()
  return dataclasses.replace(quickstart.get_config(), task=task)
"""


@dataclasses.dataclass(frozen=True)
class Mine:
  """A task of one's own: of open actions, and it breaks."""

  max_turns: int = 3

  def episode(self, index, split):
    del index, split
    return Broken()

  def num_test(self):
    return 2

  def words(self):
    return ()


class Broken:
  def reset(self, seed):
    del seed
    return "say something", {}

  def step(self, action):
    time.sleep(float(action))
    raise KeyError("oops")


def test_an_environment_may_break_or_never_answer(
  typed, tmp_path, monkeypatch, capsys
):
  path = tmp_path / "mine.py"
  path.write_text(MINE)
  monkeypatch.setattr(asking, "_PATIENCE", 0.05)
  code, _, err = typed(["0.2"], str(path))
  assert code == 2
  assert "[no answer yet; Ctrl-C leaves]" in err
  where = Broken.step.__code__.co_firstlineno + 2
  told = f"the environment raised, in test_play.py line {where}: KeyError"
  assert err.splitlines()[-1] == f"rlx play: {told}('oops')"
  assert cli.run(["envs", str(path)]) == 0
  out = capsys.readouterr().out
  assert "nobody knows an action here" in out
  assert "\nsay something\n" in out


@pytest.mark.parametrize("name", ["sokoban", "arithmetic"])
def test_there_are_so_many_held_out_episodes(typed, name):
  code, _, err = typed([], name, "--split", "test", "--index", "99999")
  assert code == 2
  assert re.search(r"index 99999: there are \d+ held-out episodes", err)


def test_a_word_that_is_an_action_goes_to_the_environment(monkeypatch, capsys):
  said = []

  class Shop:
    max_turns = 9

    def reset(self, seed):
      return "a shop", {}

    def step(self, action):
      said.append(action)
      return "thanks", 0.0, False, False, {}

    def actions(self):
      return ("Help", "buy")

  table = play.Table(Shop(), Shop(), 0)
  assert table.type("help")
  assert table.type("buy\nbread")
  assert said == ["help", "buy\nbread"]
  assert table.type(":help")
  assert table.type("undo")
  assert not table.type(":quit")
  assert said == ["help", "buy\nbread"]
  out = capsys.readouterr().out
  assert "usage: rlx play" in out
  assert "cannot go back" in out


def test_prompts_are_answered_once_and_lines_may_go_on(typed):
  code, out, _ = typed(["7 \\", "7"], "arithmetic", "--data.digits", "1")
  assert code == 0
  assert "turn 1/1> 7 \n7\n" in out
  assert "failure (completed) after 1 turn, reward +0.00" in out


def test_the_same_seed_plays_the_same(typed):
  actions = ["a0", "a1"] * 4
  first = typed(actions, "bandit", "--seed", "3", "--drawn")
  assert typed(actions, "bandit", "--seed", "3", "--drawn") == first
  assert any(
    typed(actions, "bandit", "--seed", str(seed), "--drawn") != first
    for seed in range(4, 9)
  )


def test_fields_are_listed_and_the_task_is_the_one_described(typed, capsys):
  with pytest.raises(SystemExit) as exit:
    typed([], "stepgame", "--fields")
  assert exit.value.code == 0
  capsys.readouterr()
  with pytest.raises(SystemExit):
    typed([], "stepgame", "--nope", "3")
  assert "(all: rlx play stepgame --fields)" in capsys.readouterr().err
  _, out, _ = typed(["quit"], "stepgame", "--hops", "1", "--noise", "0")
  assert "turn 1/4>" in out


def test_without_a_name_it_explains_itself(typed):
  code, out, _ = typed([])
  assert code == 0
  assert out.startswith("usage: rlx play NAME")
