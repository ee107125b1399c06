"""A step whose gradient was not finite, kept so that it can be run again."""

import pathlib
from typing import Any

import jax
import numpy as np

from rlx import loop, rundir, train_state


def dump(
  path: pathlib.Path, done: loop.Done, state: train_state.TrainState
) -> pathlib.Path:
  """Writes the batch and the parameters of a skipped step, and returns where.

  `path/nonfinite/step_N/` gets `arrays.safetensors` (parameters, batch) and
  `metrics.json`. The parameters are still those of the skipped update, because
  a skipped update changes nothing.
  """
  from safetensors import numpy as safetensors

  directory = path / "nonfinite" / f"step_{done.step}"
  directory.mkdir(parents=True, exist_ok=True)
  tree = {"params": state.params, "batch": done.batch}
  flat, _ = jax.tree_util.tree_flatten_with_path(tree)
  arrays = {
    jax.tree_util.keystr(name): np.asarray(leaf, order="C")
    for name, leaf in flat
  }
  safetensors.save_file(arrays, directory / "arrays.safetensors")
  rundir.write_json(directory / "metrics.json", done.metrics)
  return directory


def load(directory: pathlib.Path, tree: Any) -> Any:
  """Returns a dump as a tree like `tree`: {"params": ..., "batch": ...}."""
  from safetensors import numpy as safetensors

  arrays = safetensors.load_file(directory / "arrays.safetensors")
  return jax.tree_util.tree_map_with_path(
    lambda name, _: arrays[jax.tree_util.keystr(name)], tree
  )
