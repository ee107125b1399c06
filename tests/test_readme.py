"""What the README says runs, runs."""

import pathlib
import re
import shlex

import pytest

from rlx import cli

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TINY = shlex.split(
  "--steps 1 --rollout.num-prompts 8 --rollout.group-size 2 --eval.num 8"
  " --eval.no-greedy --task.turns 2 --warm-start.steps 1"
  " --warm-start.batch-size 8 --warm-start.num-demonstrations 64"
  " --model.num-layers 1 --model.embed-dim 8 --model.mlp-dim 8"
)


def blocks(language: str) -> list[str]:
  return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def commands() -> list[list[str]]:
  lines = re.findall(r"^    (rlx .*)$", README, flags=re.M)
  return [shlex.split(line.partition("   ")[0])[1:] for line in lines]


def test_the_two_commands_are_the_first_thing():
  assert "pip install -e . && rlx train quickstart" in README
  assert "pip install -e '.[dev]' && pytest" in README


def test_every_command_named_exists():
  named = {command[0] for command in commands()}
  assert named == set(cli.COMMANDS)


def test_train_with_overrides_runs(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with_fields = next(c for c in commands() if "--recipe.discount" in c)
  assert cli.run([*with_fields, "--quiet", *TINY]) == 0
  assert (tmp_path / "runs/second/summary.json").exists()


def test_the_method_of_the_readme_trains(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  method, experiment = (x for x in blocks("python") if "from_state" in x)
  (tmp_path / "mine.py").write_text(method + experiment)
  assert cli.run(["train", "mine.py", "--quiet", *TINY]) == 0
  assert (tmp_path / "runs/from-state-seed0/summary.json").exists()


def test_the_environment_of_the_readme_trains(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  task = next(x for x in blocks("python") if "class Guessing" in x)
  experiment = """
import dataclasses
from rlx.configs import quickstart


def get_config():
  base = quickstart.get_config()
  model = dataclasses.replace(base.model, vocab_size=17)
  return dataclasses.replace(
    base, name="guess", model=model, task=Guessing(), warm_start=None
  )
"""
  (tmp_path / "guess.py").write_text(task + experiment)
  tiny = [x for x in TINY]
  for option in ("--task.turns", "--warm-start.steps"):
    at = tiny.index(option)
    del tiny[at : at + 2]
  for option in ("--warm-start.batch-size", "--warm-start.num-demonstrations"):
    at = tiny.index(option)
    del tiny[at : at + 2]
  assert cli.run(["train", "guess.py", "--quiet", *tiny]) == 0


def test_the_reward_of_the_readme_has_the_shape():
  scope: dict = {}
  exec(next(x for x in blocks("python") if "def short" in x), scope)
  from rlx.rewards import combine

  found = combine.score([scope["short"]], None, ["p"], ["c"], [[1, 2, 3]], {})
  assert found.total.tolist() == [0.25]


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_help_teaches(name, capsys):
  assert cli.run([name, "--help"]) == 0
  said = capsys.readouterr().out
  assert f"usage: rlx {name}" in said
  assert "example" in said


def test_folders_of_the_readme_exist():
  for name in re.findall(r"^    ((?:rlx/)?[a-z_]+(?:/|\.py))  ", README, re.M):
    assert (ROOT / name).exists(), name
