"""The `rlx` command: it teaches, it refuses in one line, and it runs."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from rlx import cli, config, preemption, recipes
from tests import tiny


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch):
  # The tests' own stays in force.
  monkeypatch.setenv("RLX_COMPILATION_CACHE", "off")


@pytest.fixture
def rlx(capsys):
  """Runs a command; returns its exit code, output and errors."""

  def run(*arguments):
    try:
      code = cli.run([str(x) for x in arguments])
    except SystemExit as exit:
      code = exit.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  return run


# It teaches.


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_every_command_and_where_to_start(rlx, arguments):
  code, out, err = rlx(*arguments)
  assert (code, err) == (0, "")
  for name, command in cli.COMMANDS.items():
    assert f"{name:9} {command.line}" in out
  assert "rlx train quickstart " in out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself_with_an_example(rlx, name):
  code, out, err = rlx(name, "--help")
  assert (code, err) == (0, "")
  assert out.startswith(f"usage: rlx {name} ")
  assert "example" in out
  assert all(len(line) <= 100 for line in out.splitlines())


def test_help_of_train_lists_the_experiments_and_then_every_field(rlx):
  _, out, _ = rlx("train", "--help")
  assert all(name in out for name in config.names())
  code, out, _ = rlx("train", "quickstart", "--help")
  assert code == 0
  for field in (
    "--seed",
    "--rollout.group-size",
    "--rollout.sampling.temperature",
    "--recipe.discount",
    "--optimizer.learning-rate",
    "--warm-start.steps",
  ):
    assert field in out
  # Fields of recipes are explained by their docstrings.
  assert "of the comparison between steps" in " ".join(out.split())


def test_the_version_is_told(rlx):
  import rlx as package

  assert rlx("--version") == (0, f"rlx {package.__version__}\n", "")


def test_recipes_are_listed_for_people_and_machines(rlx):
  _, out, _ = rlx("recipes")
  names = [make.__name__ for make in recipes.ALL]
  assert all(name in out for name in names)
  _, out, _ = rlx("recipes", "--json")
  found = json.loads(out)
  assert [x["name"] for x in found] == names
  for recipe in found:
    assert {"formula", "source", "confidence", "verbs"} <= set(recipe)
    assert recipe["source"]


@pytest.mark.parametrize("name", ["reinforce_plus_plus", "reinforce-plus-plus"])
def test_a_recipe_is_explained_with_formula_source_and_fields(rlx, name):
  _, out, _ = rlx("recipes", name)
  assert "A = whiten(returns" in out
  assert "arXiv:2501.03262" in out
  assert "discount: per token" in out
  _, out, _ = rlx("recipes", name, "--json")
  assert [x["name"] for x in json.loads(out)] == ["reinforce_plus_plus"]


def test_the_command_line_is_there_at_once():
  began = time.perf_counter()
  found = subprocess.run(
    [sys.executable, "-X", "importtime", "-m", "rlx.cli", "--help"],
    capture_output=True,
    text=True,
    cwd=pathlib.Path(__file__).parents[1],
  )
  assert found.returncode == 0
  assert "usage: rlx COMMAND" in found.stdout
  # What takes long to import is not imported.
  imported = {
    line.rpartition("|")[2].strip() for line in found.stderr.splitlines()
  }
  assert not imported & {"jax", "transformers", "tyro", "rich"}
  assert time.perf_counter() - began < 10


# It refuses in one message, with the exit code of a bad command.


@pytest.mark.parametrize(
  "arguments, message",
  [
    (("trian",), "no command 'trian'; nearest: train"),
    (("train", "quickstrat"), "no config 'quickstrat'; nearest: quickstart"),
    (("train", "nothing.py"), "config nothing.py: there is no such file"),
    (
      ("train", "quickstart", "--rolout.group-size", "4"),
      "no field --rolout.group-size; nearest: --rollout.group-size",
    ),
    (
      ("train", "quickstart", "--rollout.group-size", "1"),
      "rollout.group_size=1: recipe gigpo",
    ),
    (
      (
        *("train", "quickstart", "--rollout.num-prompts", "3"),
        *("--rollout.group-size", "3"),
      ),
      "rows of a batch=9 does not divide over data × fsdp = 8 devices; the"
      " nearest that do: 8 or 16",
    ),
    (
      ("train", "quickstart", "--mesh.tensor", "3"),
      "needs a multiple of 3 devices, but there are 8",
    ),
    (
      ("train", "quickstart", "--rollout.max-prompt-length", "7"),
      "18 tokens, more than max_prompt_length=7",
    ),
    (("train", "quickstart", "--workdir"), "--workdir needs a value"),
    (("train", "quickstart", "--seed", "-1"), "seed=-1: must be in 0"),
    (("train", "quickstart", "--recipe.discount", "1.5"), "discount=1.5"),
    (("train", "quickstart", "--recipe.discont", "1"), "--recipe.discount"),
    (("eval", "nowhere"), "nowhere: no such run, checkpoint or model"),
    (("eval",), None),
    (("sample", "nowhere", "--num", "0"), "--num=0"),
    (("sample", "nowhere", "--num", "some"), "--num='some': must be a whole"),
    (("sample", "nowhere", "--split", "dev"), "must be test or train"),
    (("export", "nowhere", "out"), "nowhere: no such run"),
    (("export", "nowhere", "out", "--what"), "unknown argument '--what'"),
    (("recipes", "grop"), "no recipe 'grop'; nearest: grpo"),
    (("recipes", "grpo", "gigpo"), "unknown argument 'gigpo'"),
    (("bench", "speed"), "no workload 'speed'; there are grpo, agent"),
    (("bench", "grpo", "--steps", "0"), "--steps=0: must be 1 or more"),
    (("sft", "nowhere.jsonl"), "nowhere.jsonl"),
  ],
  ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_a_bad_command_is_one_message_and_leaves_nothing_behind(
  rlx, tmp_path, monkeypatch, arguments, message
):
  monkeypatch.chdir(tmp_path)
  code, out, err = rlx(*arguments)
  if message is None:  # Without arguments a command shows its usage.
    assert out.startswith("usage:")
    return
  assert code == 2
  shown = " ".join(err.replace("│", " ").split())
  assert message in shown
  assert "Traceback" not in err
  assert list(tmp_path.iterdir()) == []


def test_other_names_of_fields_are_understood_and_said(rlx):
  # `--beta` is a field of the recipe; refused later, for the group's size.
  code, _, err = rlx(
    *("train", "quickstart", "--num-generations", "1", "--lr", "1e-4")
  )
  assert code == 2
  assert "note: --num-generations is --rollout.group-size" in err
  assert "note: --lr is --optimizer.learning-rate" in err
  assert "rollout.group_size=1" in err


def test_a_disk_that_cannot_be_written_is_one_message(rlx, tmp_path):
  (tmp_path / "file").write_text("")
  code, _, err = rlx("train", "quickstart", "--workdir", tmp_path / "file")
  assert code == 2
  assert "is a file" in err
  code, _, err = rlx(
    "train", "quickstart", "--workdir", tmp_path / "file" / "x"
  )
  assert code in (1, 2)
  assert "Traceback" not in err


# It runs.

SETTINGS = """
import signal
from rlx import config, experiment
from rlx.envs import frozen_lake
from tests import tiny

def get_config():
  return tiny.EXPERIMENT
"""


@pytest.fixture
def settings(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(SETTINGS)
  return path


def test_a_run_from_its_first_step_to_a_hugging_face_directory(
  rlx, settings, tmp_path, monkeypatch
):
  path, out = tmp_path / "run", tmp_path / "out"
  # SIGTERM arrives while the first samples are written.
  from rlx import rundir

  write = rundir.RunDir.write_samples

  def interrupted(self, step, rows):
    write(self, step, rows)
    signal.raise_signal(signal.SIGTERM)

  monkeypatch.setattr(rundir.RunDir, "write_samples", interrupted)
  command = ("train", settings, "--workdir", path)
  code, shown, err = rlx(*command)
  assert code == preemption.EXIT_CODE == 75
  assert "saved after step 1; run the same command to resume" in shown
  assert "SIGTERM: finishing this step" in err or err == ""
  monkeypatch.setattr(rundir.RunDir, "write_samples", write)

  code, shown, _ = rlx(*command)
  assert code == 0
  shown = " ".join(shown.split())
  for text in (
    "after step 1",
    "success on what was held out",
    "an episode of step 6, and the credit of its steps",
    "metrics.jsonl",
    "rlx sample",
    "rlx export",
  ):
    assert text in shown

  code, shown, _ = rlx("eval", path, "--json", "--samples", "2")
  found = json.loads(shown)
  summary = json.loads((path / "summary.json").read_text())
  assert code == 0
  assert found["step"] == 6
  assert found["sampled"]["success"] == summary["eval/success"]
  assert found["sampled"]["n"] == 8

  code, shown, _ = rlx("sample", path, "--num", "1")
  assert code == 0
  assert "test 0: " in shown
  assert "A" in shown

  assert rlx("export", path, out)[0] == 0
  assert (out / "model.safetensors").exists() or list(out.glob("*.safetensors"))
  code, _, err = rlx("export", path, out)
  assert code == 2
  assert "not empty" in err


def test_quiet_says_nothing_but_what_went_wrong(rlx, settings, tmp_path):
  path = tmp_path / "run"
  steps = ("--steps", "0", "--warm-start.steps", "0")
  code, out, err = rlx("train", settings, "--workdir", path, "--quiet", *steps)
  assert (code, out, err) == (0, "", "")
  code, out, err = rlx(
    "train", settings, "--workdir", path, "--seed", "1", *steps
  )
  assert code == 2
  assert "seed: 0 -> 1" in err


def test_supervised_rows_become_a_model(rlx, tmp_path):
  rows = tmp_path / "rows.jsonl"
  rows.write_text(
    "".join(
      json.dumps({"prompt": f"{i} ", "completion": "yes"}) + "\n"
      for i in range(8)
    )
  )
  path = tmp_path / "run"
  fields = "--steps 2 --batch-size 8 --length 8 --model.embed-dim 16"
  fields += " --model.num-layers 1 --model.mlp-dim 16 --model.head-dim 4"
  fields += " --mesh.data 8 --no-pack"
  code, _, err = rlx("sft", rows, "--workdir", path, "--quiet", *fields.split())
  assert (code, err) == (0, "")
  summary = json.loads((path / "summary.json").read_text())
  assert summary["steps"] == 2
  assert (path / "hf" / "config.json").exists()
  assert tiny.VOCAB == 7
