"""What a run or a directory has to offer: its experiment and its policy."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax

from rlx import assemble, checkpoint, experiment, rundir
from rlx import config as configs


class Trained(NamedTuple):
  """A policy with the experiment it belongs to.

  Attributes:
    config: the experiment.
    parts: assembled from it.
    params: of the policy, on the mesh.
    step: batches it has learnt from; None for a Hugging Face directory.
    extra: what the checkpoint knows beside the arrays.
  """

  config: experiment.TrainConfig
  parts: assemble.Parts
  params: Any
  step: int | None
  extra: dict[str, Any]


def load(
  path: str, *, config: str | None = None, overrides: tuple[str, ...] = ()
) -> Trained:
  """Returns the policy of a run, a checkpoint of one, or a model directory.

  Args:
    path: a run directory (its newest whole checkpoint), `RUN/checkpoints/step_N`,
      or a Hugging Face directory, for which `config` names the experiment.
    config: experiment by name or path; for a run whose config file lies outside
      of rlx, that file.
    overrides: command-line arguments for the experiment's fields.

  Raises:
    ValueError: it is none of these.
  """
  place = pathlib.Path(path)
  if not place.is_dir():
    raise ValueError(f"{path}: no such run, checkpoint or model directory")
  run, step = _run_of(place)
  if run is not None:
    return _from_run(run, step, config, overrides)
  if not (place / "config.json").exists():
    raise ValueError(
      f"{path}: neither a run directory (config.json of rlx), nor one of its "
      "checkpoints, nor a Hugging Face directory (config.json, safetensors)"
    )
  if config is None:
    raise ValueError(
      f"{path}: a model directory does not say what to do with it; name the "
      "experiment with --config"
    )
  chosen = configs.load(config)
  model = experiment.Pretrained(path=str(place), dtype="float32", remat="none")
  chosen = dataclasses.replace(chosen, model=model, warm_start=None)
  chosen = configs.override(chosen, list(overrides), prog="rlx")
  parts = assemble.assemble(chosen)
  return Trained(chosen, parts, parts.load(jax.random.key(0)), None, {})


def _run_of(place: pathlib.Path) -> tuple[pathlib.Path | None, int | None]:
  """Returns the run directory and the step that a path means."""
  name = place.name
  step = name.removeprefix("step_")
  if place.parent.name == "checkpoints" and step != name and step.isdecimal():
    return place.parent.parent, int(step)
  if name == "checkpoints":
    return place.parent, None
  try:
    is_run = rundir.read_config(place) is not None
  except ValueError:
    is_run = False  # The config.json of a model.
  return (place if is_run else None), None


def _from_run(run, step, config, overrides) -> Trained:
  tree = rundir.read_config(run)
  if tree is None:
    raise ValueError(f"{run}: not a run directory; it has no config.json")
  extra = [configs.load_module(config)] if config else []
  chosen = configs.from_json(tree, extra)
  chosen = configs.override(chosen, list(overrides), prog="rlx")
  parts = assemble.assemble(chosen)
  shapes = jax.eval_shape(parts.learner.init, jax.random.key(0))
  wanted = jax.tree.map(
    lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    shapes.params["policy"],
    parts.learner.placements.params["policy"],
  )
  with checkpoint.Checkpointer(run / "checkpoints") as checkpoints:
    # Only the policy is read: no optimiser, no reference.
    found = checkpoints.restore(
      step, {"state": {"params": {"policy": wanted}}}, partial=True
    )
  params = found.state["state"]["params"]["policy"]
  return Trained(chosen, parts, params, found.step, found.extra)
