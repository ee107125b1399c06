"""A checkpoint is whole or it is not there, and comes back bit for bit."""

import errno
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import checkpoint, checkpoint_files, checkpoint_tree

P = jax.sharding.PartitionSpec


@chex.dataclass
class State:
  step: Any
  params: Any
  opt: Any
  key: Any


class Moments(NamedTuple):
  mu: Any
  nu: Any


@jax.tree_util.register_pytree_with_keys_class
class Twins:
  """A container that gives both of its leaves one name."""

  def tree_flatten_with_keys(self):
    name = jax.tree_util.GetAttrKey("x")
    return [(name, np.zeros(1)), (name, np.zeros(2))], None

  def tree_flatten(self):
    return [np.zeros(1), np.zeros(2)], None

  @classmethod
  def tree_unflatten(cls, aux, children):
    del aux, children
    return cls()


def state_of(step: int) -> State:
  key = jax.random.fold_in(jax.random.key(0), step)
  w = jax.random.normal(key, (3, 5))
  return State(
    step=jnp.int32(step),
    params={
      "a.b": {"w": w},
      "a": {"b": {"w": w + 1}},
      "c/d": w.astype(jnp.bfloat16),
      "nothing": jnp.zeros((0, 4), jnp.bfloat16),
      "odd": jnp.array([jnp.nan, -0.0, jnp.inf, 1e-45]),
    },
    opt=(Moments(mu=[w * 2, w > 0], nu=()), {}, None),
    key={
      "typed": key,
      "rbg": jax.random.key(step, impl="rbg"),
      "many": jax.random.split(key, 3),
      "data": jax.random.key_data(key),
      "counter": np.int64(2**40 + step),
      "cursor": np.arange(3, dtype=np.uint64) + step,
    },
  )


def small(step: int) -> dict[str, Any]:
  return {"w": jnp.arange(1000.0) * step, "n": jnp.uint32(step)}


def bits(x: Any) -> bytes:
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  return np.asarray(x).tobytes()


def assert_same(a: Any, b: Any) -> None:
  """Equal in structure, type, dtype, shape and every bit."""
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    assert (x.dtype, x.shape) == (y.dtype, y.shape)
    assert isinstance(x, jax.Array) == isinstance(y, jax.Array)
    assert bits(x) == bits(y)


@pytest.fixture
def saver(tmp_path):
  with checkpoint.Checkpointer(tmp_path / "checkpoints") as saver:
    yield saver


def saved(saver, *steps):
  for step in steps:
    saver.save(step, small(step), {"step": step})
  saver.wait()
  return saver


# There and back.


@pytest.mark.parametrize("abstract", [True, False])
def test_a_state_comes_back_bit_for_bit(saver, abstract):
  want = state_of(7)
  extra = {"best": 0.1, "cursor": {"epoch": 1}, "none": None, "x": [1, "é"]}
  saver.save(7, want, extra)
  template = want
  if abstract:
    template = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, want))
  got = saver.restore(None, template)
  assert (got.step, got.extra, got.skipped) == (7, extra, ())
  assert_same(got.state, want)


def test_the_state_may_be_donated_as_soon_as_save_returns(saver):
  update = jax.jit(
    lambda x: jax.tree.map(lambda y: y * 0 - 1, x), donate_argnums=0
  )
  state = {"w": jnp.arange(1_000_000.0)}
  saver.save(1, state)
  state = update(state)
  state = jax.block_until_ready(update(state))
  got = saver.restore(1, state).state
  assert_same(got, {"w": jnp.arange(1_000_000.0)})


def mesh(*shape: int) -> jax.sharding.Mesh:
  axes = ("data", "tensor")[: len(shape)]
  return jax.make_mesh(
    shape, axes, axis_types=(jax.sharding.AxisType.Auto,) * len(shape)
  )


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_a_state_moves_to_another_mesh(saver):
  values = jax.random.normal(jax.random.key(0), (8, 4))
  keys = jax.random.split(jax.random.key(1), 8)
  tree = {"w": values, "b": values[0], "keys": keys}
  eight = jax.sharding.NamedSharding(mesh(8), P("data"))
  spread = jax.device_put(tree, {"w": eight, "b": None, "keys": eight})
  saver.save(1, spread)
  layout = mesh(2, 4)
  specs = {"w": P("tensor", "data"), "b": P("tensor"), "keys": P("data")}
  template = jax.tree.map(
    lambda x, spec: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=jax.sharding.NamedSharding(layout, spec)
    ),
    tree,
    specs,
  )
  got = saver.restore(None, template).state
  assert_same(got, tree)
  for name, spec in specs.items():
    assert got[name].sharding.is_equivalent_to(
      jax.sharding.NamedSharding(layout, spec), got[name].ndim
    )


def test_a_part_of_a_state_can_be_read(saver):
  want = state_of(1)
  saver.save(1, want)
  template = {"params": want.params}
  assert_same(saver.restore(1, template, partial=True).state, template)


def test_a_state_that_does_not_fit_is_told_leaf_by_leaf(saver):
  saved(saver, 1)
  with pytest.raises(ValueError, match="is of another state") as e:
    saver.restore(1, {"w": jnp.zeros(3), "extra": jnp.zeros(())})
  text = str(e.value)
  assert "extra: not in the checkpoint" in text
  assert "n: only in the checkpoint" in text
  assert "w: float32[1000] in the checkpoint, float32[3] here" in text
  wrong_type = {"w": jnp.zeros(1000, jnp.int32), "n": jnp.uint32(0)}
  with pytest.raises(ValueError, match=r"int32\[1000\] here"):
    saver.restore(None, wrong_type)


def test_only_arrays_are_state_and_only_json_is_extra(saver):
  with pytest.raises(ValueError, match=r"state\.a/0: a int is not an array"):
    saver.save(1, {"a": [3]})
  with pytest.raises(ValueError, match="arrays belong in the state"):
    saver.save(1, small(1), {"x": np.zeros(2)})
  assert saver.steps() == []


def test_two_leaves_cannot_share_a_path():
  with pytest.raises(ValueError, match="two leaves have the path x"):
    checkpoint_tree.flatten(Twins())


# Which are kept.


def test_the_newest_are_kept(tmp_path):
  with checkpoint.Checkpointer(tmp_path, keep=2, keep_every=4) as saver:
    saved(saver, *range(1, 8))
    assert saver.steps() == [4, 6, 7]
    assert saver.latest() == 7
  names = {x.name for x in tmp_path.iterdir()}
  assert names == {"step_4", "step_6", "step_7", "latest"}
  assert (tmp_path / "latest").read_text() == "step_7\n"
  with pytest.raises(ValueError, match="keep: 0 checkpoints; it must be 1"):
    checkpoint.Checkpointer(tmp_path, keep=0)


def test_a_damaged_checkpoint_does_not_count_among_those_kept(saver):
  saved(saver, 1, 2)
  truncate(saver.directory / "step_2" / checkpoint_files.RECORD)
  saved(saver, 3)
  assert saver.steps() == [1, 3]


def test_a_run_that_was_set_back_forgets_what_came_after(saver):
  saved(saver, 1, 2, 3)
  assert saver.restore(2, small(0)).step == 2
  saved(saver, 2)
  assert saver.steps() == [2]
  assert_same(saver.restore(None, small(0)).state, small(2))


def test_without_a_checkpoint_nothing_is_restored_or_made(saver):
  assert saver.steps() == []
  assert saver.latest() is None
  with pytest.raises(
    FileNotFoundError, match=r"no checkpoint in .*there: none"
  ):
    saver.restore(None, small(0))
  saved_at_1 = saved(saver, 1)
  with pytest.raises(FileNotFoundError, match=r"of step 3 .*\(there: 1\)"):
    saved_at_1.restore(3, small(0))


# Damage.


def flip(path: pathlib.Path) -> None:
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def truncate(path: pathlib.Path) -> None:
  os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip, truncate, pathlib.Path.unlink])
def test_damage_anywhere_falls_back_to_the_checkpoint_before(
  saver, tmp_path, damage, caplog
):
  saved(saver, 1, 2)
  step_2, backup = saver.directory / "step_2", tmp_path / "backup"
  shutil.copytree(step_2, backup)
  paths = [x for x in backup.rglob("*") if x.is_file() and x.stat().st_size]
  assert len(paths) > 5
  for path in paths:
    name = path.relative_to(backup)
    damage(step_2 / name)
    caplog.clear()
    got = saver.restore(None, small(0))
    assert got.step == 1, name
    assert_same(got.state, small(1))
    assert len(got.skipped) == 1
    for text in got.skipped[0], caplog.text:
      assert f"step_2 is damaged ({name}: " in text
    assert caplog.records[0].levelno == logging.WARNING
    if damage is not flip:
      assert saver.latest() == 1
    with pytest.raises(
      ValueError, match=r"no whole checkpoint: .*step_2 is dam"
    ):
      saver.restore(2, small(0))
    shutil.copy(path, step_2 / name)
  assert saver.restore(None, small(0)).step == 2


def test_when_all_are_damaged_each_is_told_and_none_is_lost(saver):
  saved(saver, 1, 2)
  for step in 1, 2:
    flip(saver.directory / f"step_{step}" / checkpoint_files.RECORD)
  with pytest.raises(
    ValueError, match=r"step_2 is damaged .*step_1 is damaged"
  ):
    saver.restore(None, small(0))
  assert saver.steps() == [1, 2]


def test_a_damaged_checkpoint_is_replaced_when_the_run_comes_by_again(saver):
  saved(saver, 1, 2)
  truncate(saver.directory / "step_2" / checkpoint_files.RECORD)
  assert saver.restore(None, small(0)).step == 1
  saved(saver, 2)
  assert saver.restore(None, small(0)).skipped == ()
  assert saver.steps() == [1, 2]


# Kills.

SCRIPT = """
import os, signal, sys, threading
import jax.numpy as jnp
import orbax.checkpoint
from rlx import checkpoint, checkpoint_files

def die(*_):
  os.kill(os.getpid(), signal.SIGKILL)

def run(where):
  replace = os.replace
  def before(a, b):
    die() if os.path.basename(b) == "step_2" else replace(a, b)
  def after(a, b):
    replace(a, b)
    if os.path.basename(b) == "step_2": die()
  def save(i):
    saver.save(i, {"w": jnp.arange(1000.0) * i, "n": jnp.uint32(i)})
  saver = checkpoint.Checkpointer(os.path.join(sys.argv[1], where))
  save(1)
  if where == "between": save(2)
  saver.wait()
  if where == "state": checkpoint_files.seal = die
  if where in ("before", "between"): os.replace = before
  if where == "after": os.replace = after
  if where == "any": threading.Timer(0.2, die).start()
  for i in range(300):
    save(2 + i * (where == "any"))

children = []
for where in sys.argv[2:]:  # Forked before JAX has threads: imports are slow.
  child = os.fork()
  if not child:
    try: run(where)
    finally: os._exit(1)
  children.append(child)
for child in children:
  _, status = os.waitpid(child, 0)
  assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, status
"""


def test_a_kill_at_any_moment_leaves_whole_checkpoints_only(tmp_path):
  """Before, between and after the renames, and at a random moment."""
  wanted = {"state": 1, "before": 1, "after": 2, "between": 2, "any": None}
  env = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
  command = [sys.executable, "-c", SCRIPT, str(tmp_path), *wanted]
  done = subprocess.run(command, env=env, timeout=120, capture_output=True)
  assert done.returncode == 0, done.stderr.decode()
  for where, step in wanted.items():
    with checkpoint.Checkpointer(tmp_path / where) as saver:
      got = saver.restore(None, small(0))
      assert got.step == step or (where == "any" and got.step >= 1)
      assert got.skipped == ()
      assert_same(got.state, small(got.step))
      saved(saver, got.step + 1)
      names = {x.name for x in saver.directory.iterdir()}
      both = {f"step_{got.step}", f"step_{got.step + 1}"}
      assert names == both | {"latest"}


# A full disk.


def full(*_: Any, **__: Any) -> None:
  raise OSError(errno.ENOSPC, "No space left on device")


def assert_full(saver, error):
  assert error.errno == errno.ENOSPC
  text = str(error)
  for part in ["disk full", "step 2", "4004 bytes", str(saver.directory)]:
    assert part in text
  assert "step 1 is whole" in text
  assert {x.name for x in saver.directory.iterdir()} == {"step_1", "latest"}
  assert_same(saver.restore(None, small(0)).state, small(1))
  saved(saver, 3)  # There is room again.
  assert saver.latest() == 3


def test_a_disk_known_to_be_full_is_told_at_once(saver, monkeypatch):
  saved(saver, 1)
  usage = shutil.disk_usage(saver.directory)
  with monkeypatch.context() as patch:
    patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4003))
    with pytest.raises(OSError, match="where 4003 are free") as e:
      saver.save(2, small(2))
  assert_full(saver, e.value)


def test_a_disk_that_fills_while_saving_is_told_by_wait(saver, monkeypatch):
  saved(saver, 1)
  with monkeypatch.context() as patch:
    patch.setattr(checkpoint_files, "seal", full)
    saver.save(2, small(2))
    with pytest.raises(OSError, match="disk full") as e:
      saver.wait()
  assert_full(saver, e.value)


@pytest.fixture
def tiny_disk(tmp_path):
  """A file system of 300 kB, where the machine lets us have one."""
  path = tmp_path / "disk"
  path.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(path)]
  if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
    pytest.skip("cannot mount a file system here")
  yield path
  subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_real_full_disk_loses_nothing(tiny_disk, monkeypatch, capfd, caplog):
  big = {"w": jax.random.normal(jax.random.key(0), (100_000,))}
  usage = shutil.disk_usage(tiny_disk)
  monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1e9))
  with checkpoint.Checkpointer(tiny_disk) as saver:
    saved(saver, 1)
    saver.save(2, big)
    with pytest.raises(OSError, match=r"disk full.*400000 bytes"):
      saver.wait()
    assert saver.restore(None, small(0)).step == 1
    saved(saver, 2)
    assert saver.steps() == [1, 2]
  assert capfd.readouterr().err == ""
  assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


# Start-up.


def test_importing_checkpoints_does_not_import_orbax():
  code = (
    "import sys, rlx.checkpoint as c; c.Checkpointer('x').latest();"
    "sys.exit('orbax.checkpoint' in sys.modules)"
  )
  assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_record_is_readable_json(saver):
  saved(saver, 1)
  path = saver.directory / "step_1" / checkpoint_files.RECORD
  record = json.loads(path.read_text())
  assert record["step"] == 1
  assert record["extra"] == {"step": 1}
  assert record["leaves"]["w"] == {
    "dtype": "float32",
    "shape": [1000],
    "kind": "array",
  }
