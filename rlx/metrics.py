"""Metrics: halves that add exactly inside jit, and the files they end up in.

Names follow the field (`reward`, `kl`, `completions/mean_length`, ...). What
depends on the clock starts with `time/` or is `step_time`: these alone may
differ between two runs of one seed, see `is_timing`.
"""

import json
import logging
import math
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from rlx import pytree, tracking

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@pytree.dataclass
class Mean:
  """A mean still in two parts, so that micro-batches and hosts add exactly."""

  total: Float[Array, "*N"]
  count: Float[Array, "*N"]  # Or the sum of the weights.

  def compute(self) -> Float[Array, "*N"]:
    """total / count, and 0 where count is 0: safe under jit and in gradients.

    `fetch` tells "no data" from 0: there an empty mean is NaN.
    """
    some = self.count != 0
    return jnp.where(some, self.total / jnp.where(some, self.count, 1), 0)


@pytree.dataclass
class Max:
  """A maximum; -inf, which `fetch` calls NaN, when it is of nothing."""

  value: Float[Array, "*N"]

  def compute(self) -> Float[Array, "*N"]:
    return self.value


@pytree.dataclass
class Min:
  """A minimum; +inf, which `fetch` calls NaN, when it is of nothing."""

  value: Float[Array, "*N"]

  def compute(self) -> Float[Array, "*N"]:
    return self.value


def mean(
  values: Float[Array, "*B"], mask: Bool[Array, "*B"] | Float[Array, "*B"]
) -> Mean:
  """The mean of `values` weighted by `mask`; what stands at 0 is not read."""
  some = mask != 0
  total = jnp.where(some, values, 0) * mask
  return Mean(total=total.sum(), count=mask.sum(dtype=total.dtype))


def maximum(values: Float[Array, "*B"], mask: Bool[Array, "*B"]) -> Max:
  """The largest of `values` where `mask`; what stands elsewhere is not read."""
  return Max(value=jnp.max(values, initial=-jnp.inf, where=mask))


def minimum(values: Float[Array, "*B"], mask: Bool[Array, "*B"]) -> Min:
  """The smallest of `values` where `mask`."""
  return Min(value=jnp.min(values, initial=jnp.inf, where=mask))


def is_metric(x: Any) -> bool:
  """True for a `Mean`, `Max` or `Min`: a leaf of a tree of metrics."""
  return isinstance(x, Mean | Max | Min)


def _add(a: Any, b: Any) -> Any:
  if type(a) is not type(b):
    raise ValueError(f"cannot add {type(a).__name__} and {type(b).__name__}")
  if isinstance(a, Max):
    return Max(value=jnp.maximum(a.value, b.value))
  if isinstance(a, Min):
    return Min(value=jnp.minimum(a.value, b.value))
  return jax.tree.map(jnp.add, a, b)


def add(a: _T, b: _T) -> _T:
  """The metrics of two micro-batches together: two trees of one structure.

  Means add their halves, maxima and minima compete, plain arrays are summed.
  """
  return jax.tree.map(_add, a, b, is_leaf=is_metric)


def empty(tree: _T) -> _T:
  """What changes nothing when it is added to a tree of this structure."""

  def one(x: Any) -> Any:
    if isinstance(x, Max):
      return Max(value=jnp.full_like(x.value, -jnp.inf))
    if isinstance(x, Min):
      return Min(value=jnp.full_like(x.value, jnp.inf))
    return jax.tree.map(jnp.zeros_like, x)

  return jax.tree.map(one, tree, is_leaf=is_metric)


def collapse(tree: _T) -> _T:
  """Adds over the leading axis of every leaf, as `lax.scan` stacks them."""

  def one(x: Any) -> Any:
    if isinstance(x, Max):
      return Max(value=x.value.max(0))
    if isinstance(x, Min):
      return Min(value=x.value.min(0))
    return jax.tree.map(lambda y: y.sum(0), x)

  return jax.tree.map(one, tree, is_leaf=is_metric)


def _plain(x: Any) -> float | int:
  """A Python number; floats with the fewest digits that name the same float."""
  if isinstance(x, bool | int | float):
    return x
  x = np.asarray(x)
  if x.shape:
    raise ValueError(f"a metric is one number, not an array of shape {x.shape}")
  return x.item() if x.dtype.kind in "biu" else float(str(x))


def _divide(x: Any) -> Any:
  if isinstance(x, Mean):
    with np.errstate(all="ignore"):
      return x.total / x.count if x.count != 0 else math.nan
  nothing = math.inf if isinstance(x, Min) else -math.inf
  if isinstance(x, Max | Min) and np.ndim(x.value) == 0 and x.value == nothing:
    return math.nan
  return x.value if isinstance(x, Max | Min) else x


def fetch(metrics: Mapping[str, Any]) -> dict[str, float | int]:
  """Plain numbers of a dict of metrics, in one transfer from the device.

  A mean of nothing is NaN, and so is a maximum or a minimum of nothing.
  This waits for the device: fetch the metrics of a step after the next step is
  dispatched.
  """
  host = jax.device_get(dict(metrics))
  return {name: _plain(_divide(host[name])) for name in metrics}


def is_timing(name: str) -> bool:
  """True for metrics that tell time: no two runs agree about these."""
  return name == "step_time" or name.startswith("time/")


def wilson_interval(
  successes: float | int, n: int, z: float = 1.959963984540054
) -> tuple[float, float]:
  """(low, high): Wilson's score interval of a success rate, 95 % by default.

      centre = (p + z²/2n) / (1 + z²/n)
      half = z/(1 + z²/n) * sqrt(p(1-p)/n + z²/4n²)

  (0, 1) when n is 0. Unlike the normal interval it never leaves [0, 1] and does
  not vanish at p = 0 or 1.

  Source: E. B. Wilson 1927, "Probable inference, the law of succession, and
  statistical inference", JASA 22:209-212.
  """
  if not 0 <= successes <= n:
    raise ValueError(f"{successes} successes of {n}: must be in 0..{n}")
  if n == 0:
    return 0.0, 1.0
  p, z2 = successes / n, z * z / n
  half = math.sqrt(p * (1 - p) / n + z2 / (4 * n)) * z / (1 + z2)
  centre = (p + z2 / 2) / (1 + z2)
  # At p = 0 and 1 one end is exactly p; rounding may overshoot it.
  low = 0.0 if successes == 0 else max(0.0, centre - half)
  return low, 1.0 if successes == n else min(1.0, centre + half)


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
  """The whole lines of a metrics.jsonl, in order; [] without a file."""
  path = pathlib.Path(path)
  if not path.exists():
    return []
  return [line for _, line in _lines(path) if line is not None]


def _lines(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
  """Each line and its object: None where a kill or a bad disk tore it."""
  with path.open(encoding="utf-8", errors="replace") as file:
    for text in file:
      try:
        line = json.loads(text)
      except json.JSONDecodeError:
        line = None
      whole = isinstance(line, dict) and "step" in line and text[-1:] == "\n"
      yield text, line if whole else None


def _cut(path: pathlib.Path, last: int) -> None:
  """Drops, atomically, the lines after step `last` and those that are torn."""
  if not path.exists():
    return
  temp = path.with_name(path.name + ".tmp")
  torn = 0
  with temp.open("w", encoding="utf-8") as file:
    for text, line in _lines(path):
      torn += line is None
      if line is not None and line["step"] <= last:
        file.write(text)
    file.flush()
    os.fsync(file.fileno())
  os.replace(temp, path)
  if torn:
    _log.warning("%s: dropped %d torn line(s)", path, torn)


class Writer:
  """Writes metrics.jsonl, TensorBoard events and, if asked, wandb.

  Write the lines of a step *before* its checkpoint is saved: then a run that
  is killed anywhere and resumed leaves the same lines as one never killed.
  """

  def __init__(
    self,
    directory: str | os.PathLike,
    *,
    resume_from: int | None = None,
    tensorboard: bool = True,
    wandb: str = "",
    config: Mapping[str, Any] | None = None,
  ):
    """Opens the files; what they hold after step `resume_from` is dropped.

    Args:
      directory: the run directory.
      resume_from: step of the checkpoint that was restored; None starts anew,
        and drops every line there is.
      tensorboard: whether events are written to `directory/tensorboard`.
      wandb: project to log to; empty for none.
      config: JSON tree shown by wandb, secrets masked.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    last = -1 if resume_from is None else resume_from
    self._events = self._wandb = None
    if wandb:
      self._wandb = tracking.start(wandb, directory, config or {})
    path = directory / "metrics.jsonl"
    _cut(path, last)
    if tensorboard:
      import tensorboardX  # Here, as not all that import rlx write events.

      self._events = tensorboardX.SummaryWriter(
        str(directory / "tensorboard"),
        purge_step=last + 1,
        # Else two writers within one second share a file.
        filename_suffix=f".{time.time_ns()}",
      )
    self._file = path.open("a", encoding="utf-8")

  def write(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Appends one line, at once. What is not finite is null in the line.

    Args:
      step: of the run; several lines may have the same.
      metrics: numbers, scalar arrays, `Mean`, `Max` and `Min`.
    """
    if "step" in metrics:
      raise ValueError("a metric cannot be named 'step'")
    numbers = fetch(metrics)
    finite = {k: v for k, v in numbers.items() if math.isfinite(v)}
    line = {"step": int(step)} | {k: finite.get(k) for k in numbers}
    self._file.write(json.dumps(line, allow_nan=False) + "\n")
    self._file.flush()
    if self._events is not None:
      for name, value in finite.items():
        self._events.add_scalar(name, value, int(step))
      self._events.flush()
    if self._wandb is not None:
      self._wandb.log({"step": int(step)} | finite)

  def close(self) -> None:
    self._file.close()
    if self._events is not None:
      self._events.close()
    if self._wandb is not None:
      self._wandb.finish()

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()
