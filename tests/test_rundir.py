"""A run directory has one writer and one config, and no half files."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from rlx import rundir

CONFIG = {
  "type": "rlx.loop:TrainConfig",
  "num_steps": 10,
  "log": {"type": "rlx.loop:Log", "every": 1},
  "recipe": {"type": "rlx.recipes.gigpo:gigpo", "discount": 0.95},
}


def changed(**fields):
  return CONFIG | fields


def test_a_new_directory_holds_its_config(tmp_path):
  path = tmp_path / "runs" / "a"
  with rundir.open_run(path, CONFIG) as run:
    assert json.loads((path / "config.json").read_text()) == CONFIG
    assert run.checkpoints == path / "checkpoints"


def test_the_same_config_opens_it_again(tmp_path):
  for _ in range(2):
    rundir.open_run(tmp_path, CONFIG).close()
  assert sorted(x.name for x in tmp_path.iterdir()) == [".lock", "config.json"]


def test_another_config_is_refused_with_its_differing_fields(tmp_path):
  rundir.open_run(tmp_path, CONFIG).close()
  new = changed(
    num_steps=20, recipe={"type": CONFIG["recipe"]["type"], "discount": 0.9}
  )
  with pytest.raises(ValueError, match="written by another config") as e:
    rundir.open_run(tmp_path, new, may_change=("num_steps",))
  assert "recipe.discount: 0.95 -> 0.9\n" in str(e.value)
  assert "1 field(s)" in str(e.value)
  assert json.loads((tmp_path / "config.json").read_text()) == CONFIG
  rundir.open_run(tmp_path, CONFIG).close()  # The lock was let go.


@pytest.mark.parametrize("allowed", ["log", "log.every"])
def test_some_fields_may_change_and_the_file_follows(tmp_path, allowed):
  rundir.open_run(tmp_path, CONFIG).close()
  new = changed(log={"type": "rlx.loop:Log", "every": 5})
  rundir.open_run(tmp_path, new, may_change=(allowed,)).close()
  assert rundir.read_config(tmp_path) == new


def test_a_field_is_not_allowed_by_the_start_of_its_name(tmp_path):
  rundir.open_run(tmp_path, CONFIG).close()
  with pytest.raises(ValueError, match="num_steps: 10 -> 11"):
    rundir.open_run(tmp_path, changed(num_steps=11), may_change=("num",))


def test_a_directory_of_something_else_is_refused_untouched(tmp_path):
  (tmp_path / "thesis.tex").touch()
  with pytest.raises(ValueError, match=r"no run of rlx \(there is thesis.tex"):
    rundir.open_run(tmp_path, CONFIG)
  assert [x.name for x in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
  "text, message",
  [
    ('{"architectures": ["X"]}', "not the config.json of an rlx run"),
    ("[]", "not the config.json of an rlx run"),
    ('{"type": "rlx', "damaged"),
  ],
)
def test_a_strange_config_is_refused_untouched(tmp_path, text, message):
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(ValueError, match=message):
    rundir.open_run(tmp_path, CONFIG)
  assert (tmp_path / "config.json").read_text() == text


def test_a_file_is_no_run_directory(tmp_path):
  (tmp_path / "x").touch()
  with pytest.raises(ValueError, match="is a file"):
    rundir.open_run(tmp_path / "x", CONFIG)


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path):
  with rundir.open_run(tmp_path, CONFIG):
    with pytest.raises(ValueError, match=f"in use by .*pid {os.getpid()}"):
      rundir.open_run(tmp_path, CONFIG)
    rundir.open_run(tmp_path, CONFIG, write=False).close()
  rundir.open_run(tmp_path, CONFIG).close()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
  """Even where a child that it forked lives on."""
  code = (
    "import os, sys, time; from rlx import rundir\n"
    f"run = rundir.open_run({str(tmp_path)!r}, {CONFIG!r})\n"
    "heard, said = os.pipe()\n"
    "child = os.fork()\n"
    # The child runs, so it has let go, before we are told of it.
    "if child: os.read(heard, 1); print(child, flush=True)\n"
    "else: os.write(said, b'.')\n"
    "time.sleep(60)\n"
  )
  command = [sys.executable, "-c", code]
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
      with pytest.raises(ValueError, match=f"pid {process.pid}"):
        rundir.open_run(tmp_path, CONFIG)
      process.kill()
      process.wait()
      rundir.open_run(tmp_path, CONFIG).close()
    finally:
      process.kill()
      os.kill(child, signal.SIGKILL)


def test_what_a_run_that_died_at_once_left_is_taken_over(tmp_path):
  (tmp_path / ".lock").write_text("pid 1")
  (tmp_path / ".config.json.123.tmp").write_text("{")
  rundir.open_run(tmp_path, CONFIG).close()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
  path = tmp_path / "summary.json"
  rundir.write_json(path, {"a": 1})

  def full(_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr("os.fsync", full)
  with pytest.raises(OSError, match="No space left"):
    rundir.write_json(path, {"a": 2})
  assert [x.name for x in tmp_path.iterdir()] == ["summary.json"]
  assert json.loads(path.read_text()) == {"a": 1}


def test_json_takes_arrays_and_nulls_what_is_not_finite():
  tree = {
    "a": jnp.arange(2),
    "b": np.float32(0.5),
    "c": (1, float("nan"), np.array([np.inf, 1.0])),
    3: None,
  }
  want = {"a": [0, 1], "b": 0.5, "c": [1, None, [None, 1.0]], "3": None}
  assert rundir.plain(tree) == want


def test_samples_are_written_a_line_each_and_rewound(tmp_path):
  row = {"tokens": np.array([1, 2]), "text": "é\n", "spans": [(0, 2)]}
  with rundir.open_run(tmp_path, CONFIG) as run:
    for step in 0, 5, 10:
      run.write_samples(step, [row, row])
    lines = run.samples(5).read_text().splitlines()
    assert [json.loads(x) for x in lines] == 2 * [
      {"tokens": [1, 2], "text": "é\n", "spans": [[0, 2]]}
    ]
    run.rewind(5)
    kept = {x.name for x in pathlib.Path(tmp_path, "samples").iterdir()}
    assert kept == {"step_0.jsonl", "step_5.jsonl"}
    run.rewind(None)
    assert list((tmp_path / "samples").iterdir()) == []


def test_the_summary_is_json(tmp_path):
  with rundir.open_run(tmp_path, CONFIG) as run:
    run.write_summary({"eval/success": 0.5, "seed": 0})
  text = (tmp_path / "summary.json").read_text()
  assert json.loads(text) == {"eval/success": 0.5, "seed": 0}
