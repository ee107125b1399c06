"""What the README says runs, runs."""

import pathlib
import re
import shlex

import numpy as np
import pytest

from rlx import cli, config, prompts
from rlx.data import splits
from rlx.rewards import calls

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


# What makes a command of the README small.
SMALL = {
  "train": ["--quiet", *TINY],
  "credit ledger": ["--recipe", "rloo"],
  "credit fidelity": ["--quick", "--recipe", "grpo"],
  "recipes": [],
}


def small() -> list[list[str]]:
  """The commands without names to be filled in, made cheap.

  `rlx bench` is left out: it takes the same time whatever it measures.
  """
  found = {}
  for command in commands():
    name = " ".join(command[: 1 + (command[0] == "credit")])
    if name in SMALL and not re.search("[A-Z|]", " ".join(command)):
      found[shlex.join(command)] = [*command, *SMALL[name]]
  return list(found.values())


@pytest.mark.parametrize("command", small(), ids=lambda c: " ".join(c[:4]))
def test_a_command_of_the_readme_runs(command, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert cli.run(command) == 0
  runs = list(tmp_path.glob("runs/*/summary.json"))
  assert len(runs) == (command[0] == "train")
  if "--workdir" in command:
    assert runs == [
      tmp_path / command[1 + command.index("--workdir")] / "summary.json"
    ]


def test_what_is_small_is_what_the_readme_has():
  assert {c[0] for c in small()} == {"train", "credit", "recipes"}
  assert sum(c[0] == "train" for c in small()) == 3


def test_a_run_is_sampled_measured_and_exported(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  run = "runs/quickstart-seed0"
  assert cli.run(["train", "quickstart", "--quiet", *TINY]) == 0
  assert cli.run(["sample", run, "--num", "1"]) == 0
  assert "test 0: " in capsys.readouterr().out
  assert cli.run(["eval", run, "--num", "2"]) == 0
  assert "95 % interval" in capsys.readouterr().out
  assert cli.run(["export", run, "exported"]) == 0
  assert (tmp_path / "exported/config.json").exists()


def test_the_method_of_the_readme_trains(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  method, experiment = (x for x in blocks("python") if "from_state" in x)
  (tmp_path / "mine.py").write_text(method + experiment)
  assert cli.run(["train", "mine.py", "--quiet", *TINY]) == 0
  assert (tmp_path / "runs/from-state-seed0/summary.json").exists()


def test_the_tree_of_the_readme_trains(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  method = next(x for x in blocks("python") if "def twigs" in x)
  experiment = next(x for x in blocks("python") if "spec(from_state)" in x)
  experiment = experiment.replace("from_state", "twigs")
  (tmp_path / "mine.py").write_text(method + experiment)
  command = ["train", "mine.py", "--quiet", *TINY, "--recipe.fan-out", "2"]
  assert cli.run([*command, "--recipe.max-depth", "1"]) == 0
  shallow = ["--recipe.max-depth", "0", "--workdir", "runs/other"]
  assert cli.run([*command, *shallow]) == 2
  assert "raise it to 1" in capsys.readouterr().err


def guessing() -> tuple[str, str, str]:
  """The environment, its experiment, and the one with a verifier."""
  found = [x for x in blocks("python") if "Guess" in x]
  assert [
    next(w for w in ("class Scored", "get_config", "class Guess:") if w in x)
    for x in found
  ] == ["class Guess:", "get_config", "class Scored"]
  return found[0], found[1], found[2]


# Guessing has neither demonstrations nor a number of turns to choose.
GUESSED = shlex.split(
  re.sub(r"--(task|warm-start)[.\w-]* \d+", "", shlex.join(TINY))
)


def test_the_environment_of_the_readme_trains(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  task, experiment, _ = guessing()
  (tmp_path / "guess.py").write_text(task + experiment)
  assert cli.run(["train", "guess.py", "--quiet", *GUESSED]) == 0


def test_the_verifier_of_the_readme_is_learnt_from(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  task, experiment, verifier = guessing()
  experiment = experiment.replace("Guessing()", "Verified()")
  (tmp_path / "guess.py").write_text(task + verifier + experiment)
  command = ["train", "guess.py", "--quiet", "--recipe", "srgpo", *GUESSED]
  assert cli.run(command) == 0
  assert (tmp_path / "runs/guess-srgpo-seed0/summary.json").exists()
  # Where a step has none, it is said what it should have.
  verifier = verifier.replace('"evidence": {"process"', '"evidence": {"proces"')
  (tmp_path / "guess.py").write_text(task + verifier + experiment)
  capsys.readouterr()
  assert cli.run([*command, "--workdir", "runs/other"]) == 1
  said = capsys.readouterr().err
  assert "rlx train: all 16 episodes of a batch failed: 16 raised" in said
  assert "rlx/rollout" not in said


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


def test_the_column_of_the_readme_is_filled():
  def short(completions, completion_ids, log_extra, **columns):
    log_extra("brief", [float(len(ids)) for ids in completion_ids])
    return [0.0 for _ in completion_ids]

  assert 'log_extra("brief", numbers)' in README
  found = prompts.make_score(
    prompts.PromptTask(data=config.spec(splits.arithmetic), rewards=(short,))
  )([{"prompt": "p"}], ["c"], [[1, 2, 3]], np.zeros(1, bool))
  assert found.evidence["brief"].tolist() == [3.0]
  assert found.evidence["objective/short"].tolist() == [0.0]


def test_the_judge_of_the_readme_is_kept_and_made_once(tmp_path):
  path = tmp_path / "judging.py"
  path.write_text(next(x for x in blocks("python") if "def kind" in x))
  module = config.load_module(str(path))
  task = module.task()
  kept = config.to_json(task)
  assert config.from_json(kept, (module,)) == task
  made = calls.made(task.rewards)
  assert made[0] is task.rewards[0]
  assert made[1] is calls.made(task.rewards)[1]
  assert "`rewards/judged/abstained`" in README
  assert calls.name_of(made[1]) == "judged"
