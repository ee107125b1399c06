"""Whole runs: what they leave behind, and that one which was stopped, killed or
damaged on its way leaves the same."""

import dataclasses
import json
import os
import pathlib
import pickle
import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from rlx import (
  assemble,
  checkpoint,
  config,
  loop,
  metrics,
  optimizer,
  preemption,
  recipes,
  rundir,
  train,
  train_state,
)
from rlx.view import console as consoles
from tests import tiny

CONFIG = tiny.EXPERIMENT
STEPS = CONFIG.steps

# A process that takes its own life at a moment of its run.
DRIVER = """
import os, pathlib, pickle, signal, sys
from rlx import checkpoint_files, metrics, train
from rlx.view import console

moment, count, workdir, config = sys.argv[1:]
left = int(count)

def dying(function):
  def call(*args, **kwargs):
    global left
    left -= 1
    if left == 0:
      os.kill(os.getpid(), signal.SIGKILL)
    return function(*args, **kwargs)
  return call

if moment == "line":
  metrics.Writer.write = dying(metrics.Writer.write)
elif moment == "commit":
  checkpoint_files.commit = dying(checkpoint_files.commit)
with open(config, "rb") as file:
  config = pickle.load(file)
train.train(config, pathlib.Path(workdir), console.Console(quiet=True))
"""


def run(workdir, settings=CONFIG, console=None):
  return train.train(settings, workdir, console or consoles.Console(quiet=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """The directory and summary of a run that nothing happened to."""
  path = tmp_path_factory.mktemp("whole") / "run"
  return path, run(path)


class Interrupted(consoles.Phase):
  def __init__(self, where, console, name, *args):
    super().__init__(console, name, *args)
    self.where, self.name = where, name

  def step(self, done, shown=None):
    super().step(done, shown)
    if (self.name, done) == self.where:
      signal.raise_signal(signal.SIGTERM)


class Interrupting(consoles.Console):
  """A console that sends SIGTERM when a phase has come to a step."""

  def __init__(self, phase, at):
    super().__init__(quiet=True)
    self.where = phase, at

  def phase(self, name, total, done=0):
    return Interrupted(self.where, self, name, total, done, 10.0)


def state(path):
  """The arrays of a run's last checkpoint."""
  parts = assemble.assemble(CONFIG)
  abstract = jax.eval_shape(parts.learner.init, jax.random.key(0))
  placed = jax.tree.map(
    lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    abstract,
    parts.learner.placements,
  )
  with checkpoint.Checkpointer(path / "checkpoints") as saved:
    found = saved.restore(None, {"state": placed})
  return found.step, tiny.host(found.state["state"]), found.extra


def lines(path):
  """metrics.jsonl without what tells time."""
  return [
    {k: v for k, v in line.items() if not metrics.is_timing(k)}
    for line in metrics.read(path / "metrics.jsonl")
  ]


def assert_same_run(path, want):
  (step, arrays, extra), (_, others, other) = state(path), state(want)
  assert step == STEPS
  jax.tree.map(np.testing.assert_array_equal, arrays, others)
  assert {**extra, "wall_s": 0} == {**other, "wall_s": 0}
  assert lines(path) == lines(want)
  names = lambda at: sorted(x.name for x in (at / "samples").iterdir())
  assert names(path) == names(want)
  for name in names(path):
    mine, theirs = (x / "samples" / name for x in (path, want))
    assert mine.read_text() == theirs.read_text()
  summaries = [
    json.loads((x / "summary.json").read_text()) for x in (path, want)
  ]
  assert {**summaries[0], "wall_s": 0} == {**summaries[1], "wall_s": 0}


# What a run leaves behind.


def test_a_run_leaves_what_the_contract_says(whole):
  path, _ = whole
  assert {x.name for x in path.iterdir() if not x.name.startswith(".")} == {
    "config.json",
    "metrics.jsonl",
    "tensorboard",
    "samples",
    "checkpoints",
    "summary.json",
  }
  # Two are kept.
  assert {x.name for x in (path / "checkpoints").iterdir()} == {
    "step_4",
    "step_6",
    "latest",
  }
  kept = {f"step_{n}.jsonl" for n in (1, 2, 4, 6)}
  assert {x.name for x in (path / "samples").iterdir()} == kept
  assert list((path / "tensorboard").iterdir())


def test_the_configuration_in_it_is_the_whole_one(whole):
  tree = rundir.read_config(whole[0])
  assert tree is not None
  assert config.from_json(tree) == CONFIG


def test_the_summary_has_the_results_the_time_and_the_seed(whole):
  path, summary = whole
  assert json.loads((path / "summary.json").read_text()) == summary
  assert {
    "eval/success_before",
    "eval/success",
    "eval/n",
    "wall_s",
    "seed",
  } <= set(summary)
  assert summary["eval/n"] == 8
  assert 0 <= summary["eval/success"] <= 1
  low, high = summary["eval/success_interval"]
  assert low <= summary["eval/success"] <= high
  assert summary["wall_s"] > 0


def test_each_step_has_a_line_of_finite_numbers(whole):
  found = metrics.read(whole[0] / "metrics.jsonl")
  assert [line["step"] for line in found] == [1, 2, 3, 4, 5, 6]
  names = {"loss", "reward", "entropy", "grad_norm", "step_time", "num_tokens"}
  names |= {"step/adv_std", "step/num_steps", "completions/mean_length"}
  for line in found:
    assert names <= set(line)
    assert all(np.isfinite(x) for x in line.values())
  evaluated = [line["step"] for line in found if "eval/success" in line]
  assert evaluated == [3]


def test_samples_can_be_read_without_a_model(whole):
  rows = [
    json.loads(line)
    for line in (whole[0] / "samples" / "step_4.jsonl").read_text().splitlines()
  ]
  assert [row["trajectory"] for row in rows] == [0, 1, 2]
  for row in rows:
    assert len(row["tokens"]) == len(row["mask"]) == len(row["log_probs"])
    num = len(row["spans"])
    assert len(row["rewards"]) == len(row["advantages"]) == num >= 1
    covered = sum(end - start for start, end in row["spans"])
    assert covered == sum(row["mask"])
    assert row["outcome"] == pytest.approx(sum(row["rewards"]), abs=1e-6)
    assert row["text"].startswith("<user> A")


def test_the_same_command_on_a_finished_run_changes_nothing(whole, tmp_path):
  path = tmp_path / "again"
  shutil.copytree(whole[0], path)
  run(path)
  assert_same_run(path, whole[0])


# What is stopped, killed or damaged.


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
  """The directory of a run that was asked to stop in its fifth step."""
  path = tmp_path_factory.mktemp("stopped") / "run"
  with pytest.raises(preemption.Preempted, match="saved after step 5"):
    run(path, console=Interrupting("gigpo", 5))
  return path


def test_a_run_that_is_asked_to_stop_saves_and_goes_on(
  whole, stopped, tmp_path
):
  assert not (stopped / "summary.json").exists()
  assert state(stopped)[0] == 5
  path = tmp_path / "run"
  shutil.copytree(stopped, path)
  run(path)
  assert_same_run(path, whole[0])


def test_a_run_whose_last_checkpoint_is_damaged_goes_on_from_the_one_before(
  whole, stopped, tmp_path, capsys
):
  path = tmp_path / "run"
  shutil.copytree(stopped, path)
  data = max(
    (x for x in (path / "checkpoints/step_5").rglob("*") if x.is_file()),
    key=lambda x: x.stat().st_size,
  )
  content = bytearray(data.read_bytes())
  content[len(content) // 2] ^= 1
  data.write_bytes(content)
  run(path, console=consoles.Console())
  shown = " ".join(capsys.readouterr().out.split())
  assert "passed over a damaged checkpoint" in shown
  assert "after step 4" in shown
  assert_same_run(path, whole[0])


def test_a_run_that_is_stopped_in_its_warm_start_says_that_nothing_is_saved(
  tmp_path,
):
  with pytest.raises(preemption.Preempted, match="nothing is saved yet"):
    run(tmp_path, console=Interrupting("warm start", 1))
  assert not (tmp_path / "checkpoints").exists()


def test_a_run_that_is_killed_again_and_again_is_the_one_never_killed(
  whole, tmp_path
):
  pickled, path = tmp_path / "config.pkl", tmp_path / "run"
  pickled.write_bytes(pickle.dumps(CONFIG))
  env = {
    **os.environ,
    "JAX_COMPILATION_CACHE_DIR": jax.config.values["jax_compilation_cache_dir"],
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    "PYTHONPATH": os.pathsep.join([str(pathlib.Path.cwd()), *sys.path]),
  }
  # Within the third save, of step 4; then before the sixth line, one in.
  for moment, count in (("commit", 3), ("line", 4)):
    killed = subprocess.run(
      [sys.executable, "-c", DRIVER, moment, str(count), path, pickled],
      env=env,
      capture_output=True,
      text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
  assert not (path / "summary.json").exists()
  run(path)
  assert_same_run(path, whole[0])


# What is refused.


def test_the_run_of_another_config_is_refused_with_the_fields(whole, tmp_path):
  path = tmp_path / "run"
  shutil.copytree(whole[0], path)
  other = dataclasses.replace(
    CONFIG,
    seed=3,
    recipe=config.spec(recipes.gigpo, discount=0.5),
    rollout=dataclasses.replace(CONFIG.rollout, group_size=4),
  )
  with pytest.raises(ValueError, match=r"3 field\(s\) differ") as caught:
    run(path, other)
  for line in (
    "seed: 0 -> 3",
    "recipe.discount: 0.95 -> 0.5",
    "rollout.group_size: 2 -> 4",
  ):
    assert line in str(caught.value)
  assert_same_run(path, whole[0])


def test_the_length_of_a_run_may_change(whole, tmp_path):
  path = tmp_path / "run"
  shutil.copytree(whole[0], path)
  found = run(path, dataclasses.replace(CONFIG, steps=STEPS + 1))
  assert found["steps"] == STEPS + 1
  assert [line["step"] for line in lines(path)] == list(range(1, STEPS + 2))


def test_gradients_that_are_never_finite_end_the_run_with_what_to_look_at(
  tmp_path,
):
  # The first update makes parameters whose logits are no numbers.
  bad = dataclasses.replace(
    CONFIG,
    optimizer=optimizer.OptimizerConfig(learning_rate=1e38),
    learner=train_state.LearnerConfig(max_skipped=2),
    warm_start=None,
  )
  with pytest.raises(loop.NotFinite) as caught:
    run(tmp_path, bad)
  assert re.search(
    r"step 3: 2 updates in a row.*max_skipped=2.*/nonfinite.* step 2",
    str(caught.value),
  )
  for step in (2, 3):
    assert (tmp_path / f"nonfinite/step_{step}/arrays.safetensors").exists()


def test_what_is_interrupted_says_no_time_left(capsys):
  said = consoles.Console(every=0.0)
  for last, lines in ((1, 1), (2, 3)):
    with said.phase("grpo", 2) as phase:
      for step in range(1, last + 1):
        phase.step(step, {"reward": 1.0})
    assert capsys.readouterr().out.count("grpo") == lines
