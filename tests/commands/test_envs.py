"""`rlx envs`: every environment is listed, and an episode of each can be seen."""

import dataclasses
import json
import re

import pytest

from rlx import cli, config, families
from rlx.commands import envs, playing
from rlx.envs import extras, protocol
from rlx.tools import sums
from rlx.tools import task as tool_task

NAMES = [family.name for family in families.ALL]


def listed(capsys) -> list[dict]:
  assert cli.run(["envs", "--json"]) == 0
  return json.loads(capsys.readouterr().out)


def test_every_environment_has_a_name_of_its_own_and_a_line():
  assert len({*NAMES}) == len(NAMES)
  for family in families.ALL:
    assert re.fullmatch(r"[a-z0-9-]+", family.name)
    assert len(family.line) <= 60
    assert bool(family.packages) == bool(family.extra)


def test_the_list_says_what_each_is_good_for(capsys):
  found = {x["name"]: x for x in listed(capsys)}
  assert [*found] == NAMES
  lake, text = found["frozen-lake"], found["textworld"]
  assert (lake["turns"], lake["restored"], lake["device"]) == (12, True, True)
  assert lake["evidence"] == ["process", "matched", "grounded"]
  assert lake["fields"]["size"] == 4
  assert text["extra"] == "textworld"
  assert text["installed"] is extras.installed("textworld")
  assert not found["stepgame"]["device"]
  assert found["gsm8k"]["kind"] == "prompts"
  assert cli.run(["envs"]) == 0
  told = capsys.readouterr().out
  for family in families.ALL:
    assert f"\n{family.name} " in f"\n{told}"
    assert family.line in told
  assert all(len(line) <= 80 for line in told.splitlines())


# Without files or packages of their own, or a sandbox.
PLAYABLE = [
  family.name
  for family in families.ALL
  if not family.packages and family.name not in ("gsm8k", "python-tool")
]


@pytest.mark.parametrize("name", PLAYABLE)
def test_an_episode_is_shown(name, capsys):
  assert cli.run(["envs", name, "--json", "--index", "1"]) == 0
  found = json.loads(capsys.readouterr().out)
  episode = found["episode"]
  assert 1 <= len(episode["turns"]) <= found["turns"]
  assert episode["stop"] in ("completed", "truncated", "max_turns")
  if episode["player"] in ("its expert", "the row's own answer"):
    assert episode["success"]
  for turn in episode["turns"]:
    assert {*turn["evidence"]} <= {*found["evidence"]}


@pytest.mark.parametrize("name", PLAYABLE)
def test_what_can_be_restored_goes_on_as_it_did(name):
  task = playing.find(name).task
  live = playing.episode(task, 2, "test")
  assert isinstance(live, protocol.Episode)
  assert isinstance(live, protocol.Restorable)
  shown, _ = live.reset(3)
  assert live.reset(3)[0] == shown
  place = live.snapshot()
  live.restore(place, 7)
  want = live.step("anything at all")
  live.restore(place, 7)
  assert live.step("anything at all") == want


def test_an_episode_is_readable_in_a_terminal(capsys):
  assert cli.run(["envs", "frozen-lake", "--size", "5", "--split", "test"]) == 0
  told = capsys.readouterr().out
  for text in (
    "frozen-lake: reach G, fall into no O",
    "task=rlx.envs.frozen_lake.FrozenLake(...)",
    "--size  5",
    "test 0, played by its expert:",
    "matched 1",
    "success (completed) after",
  ):
    assert text in told


def test_what_cannot_be_made_here_is_listed_all_the_same(monkeypatch, capsys):
  def refuse(*_):
    raise RuntimeError("code cannot be kept in here")

  monkeypatch.setattr(tool_task.ToolTask, "episode", refuse)
  found = {x["name"]: x for x in listed(capsys)}
  assert found["python-tool"]["restored"] is None
  assert cli.run(["play", "python-tool"]) == 2
  assert "code cannot be kept in here" in capsys.readouterr().err


def test_long_episodes_are_cut_short_for_people(capsys):
  assert cli.run(["envs", "cliff"]) == 0
  told = capsys.readouterr().out
  assert "... 18 more turns: --all ..." in told
  assert "evidence │" not in told
  assert cli.run(["envs", "cliff", "--all"]) == 0
  assert "more turns" not in capsys.readouterr().out


def test_another_id_leaves_what_was_said_of_the_first_behind(capsys):
  assert cli.run(["envs", "cartpole", "--id", "Pendulum-v1"]) == 0
  told = capsys.readouterr().out
  assert told.startswith("cartpole: Gymnasium's Pendulum-v1\n")
  assert "nobody knows an action here" in told


def test_rewards_have_the_digits_that_they_need():
  assert playing.paid(0.5) == "+0.50"
  assert playing.paid(0.125) == "+0.125"
  assert playing.paid(0.0, [0.125]) == "+0.000"


def test_python_is_demonstrated_how_it_is_asked():
  row = sums.problems(digits=3)["train"][0]
  call, answer = row["actions"]
  assert '"name": "python"' in call
  assert answer == row["answer"]


def test_the_task_of_an_experiment_is_shown_too(capsys, tmp_path):
  assert playing.find("quickstart").task == config.load("quickstart").task
  path = tmp_path / "mine.py"
  path.write_text(
    "import dataclasses\n"
    "from rlx.configs import quickstart\n"
    "from rlx.envs import bandit\n"
    "def get_config():\n"
    "  return dataclasses.replace(\n"
    "    quickstart.get_config(), task=bandit.Bandit(turns=3))\n"
  )
  assert cli.run(["envs", str(path), "--json"]) == 0
  assert json.loads(capsys.readouterr().out)["turns"] == 3


def test_what_is_not_installed_is_described_and_says_how(monkeypatch, capsys):
  monkeypatch.setattr(extras, "installed", lambda package: False)
  assert cli.run(["envs", "textworld"]) == 2
  out, err = capsys.readouterr()
  assert "win a generated adventure" in out
  assert "--rooms  2" in out
  assert "pip install 'rlx[textworld]'" in err
  assert cli.run(["play", "alfworld"]) == 2
  assert "pip install 'rlx[alfworld]'" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["frozen-lak"], "no environment 'frozen-lak'; nearest: frozen-lake"),
    (["frozen-lake", "--split", "dev"], "--split=dev: must be train or test"),
    (["frozen-lake", "--index", "-1"], "--index=-1"),
    (["frozen-lake", "--index", "one"], "must be a whole number"),
    (["frozen-lake", "--seed", "-4"], "--seed=-4: must be 0 or more"),
    (["frozen-lake", "--turns", "0"], "turns=0"),
    (["--jsn"], "unknown argument '--jsn'"),
    (["gsm8k", "--data.directory", "nowhere"], "nowhere holds neither"),
  ],
)
def test_what_there_is_not_is_told_in_short(arguments, message, capsys):
  try:
    code = cli.run(["envs", *arguments])
  except SystemExit as exit:
    code = exit.code
  assert code == 2
  assert message in " ".join(capsys.readouterr().err.split())


def test_fields_are_plain():
  for family in families.ALL:
    json.dumps(envs.describe(family))


@pytest.mark.parametrize("family", families.ALL, ids=lambda x: x.name)
def test_each_is_the_task_of_an_experiment_and_written_down_as_one(family):
  found = dataclasses.replace(config.load("quickstart"), task=family.task)
  assert config.from_json(config.to_json(found)) == found
