"""A state as Orbax stores it: nested dicts of arrays, and a list of leaves.

Whatever containers a state is made of (tuples, named tuples, dataclasses,
empty ones), only the path of each leaf counts on disk. Typed random keys are
stored as their uint32 data; arrays without elements only in the list.
"""

import math
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Leaves = Mapping[str, Mapping[str, Any]]  # By path: dtype, shape, kind, impl.


def _is_key(x: Any) -> bool:
  return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def flatten(tree: Any) -> dict[str, Any]:
  """The leaves of a tree by path, `params/layer/kernel`, in order.

  Raises:
    ValueError: two leaves have one path, or a leaf is no array.
  """
  out = {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
    parts = (jax.tree_util.keystr((p,), simple=True) for p in path)
    # Orbax joins with dots, we with slashes: keep both out of the parts.
    quoted = [
      p.replace("%", "%25").replace(".", "%2E").replace("/", "%2F")
      for p in parts
    ]
    name = "/".join(quoted) or "value"
    if name in out:
      raise ValueError(f"state: two leaves have the path {name}")
    if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
      kind = type(leaf).__name__
      raise ValueError(
        f"state.{name}: a {kind} is not an array; keep it in `extra`"
      )
    out[name] = leaf
  return out


def describe(leaves: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
  """What a checkpoint records about each leaf, as JSON."""
  out = {}
  for name, x in leaves.items():
    of = {"dtype": str(x.dtype), "shape": list(x.shape)}
    if _is_key(x):
      out[name] = of | {"kind": "key", "impl": str(jax.random.key_impl(x))}
    elif isinstance(x, jax.Array):
      out[name] = of | {"kind": "array"}
    else:
      out[name] = of | {"kind": "numpy"}
  return out


def num_bytes(leaves: Mapping[str, Any]) -> int:
  """Bytes of all leaves, over all devices, replicas counted once."""
  of_key = 16  # At most, of the implementations that jax has.
  return sum(
    math.prod(x.shape) * (of_key if _is_key(x) else x.dtype.itemsize)
    for x in leaves.values()
  )


def to_store(leaves: Mapping[str, Any]) -> dict[str, Any]:
  """The nested dict that is given to Orbax."""
  data = {}
  for name, x in leaves.items():
    if not math.prod(x.shape):
      continue
    if _is_key(x):
      x = jax.random.key_data(x)
    data[name] = x if isinstance(x, jax.Array) else np.asarray(x)
  return _nest(data)


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
  out: dict[str, Any] = {}
  for name, x in flat.items():
    *parents, last = name.split("/")
    node = out
    for parent in parents:
      node = node.setdefault(parent, {})
    node[last] = x
  return out


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  out = {}
  for name, x in nested.items():
    if isinstance(x, Mapping):
      out |= _flat(x, f"{prefix}{name}/")
    else:
      out[prefix + name] = x
  return out


def refuse_misfit(
  recorded: Leaves, wanted: Mapping[str, Any], where: str, *, partial: bool
) -> None:
  """Raises ValueError if a state of other leaves is asked for than recorded."""
  problems = [f"{x}: not in the checkpoint" for x in wanted.keys() - recorded]
  if not partial:
    problems += [
      f"{x}: only in the checkpoint" for x in recorded - wanted.keys()
    ]
  for name in recorded.keys() & wanted.keys():
    there, here = recorded[name], wanted[name]
    dtypes = {there["dtype"]}
    if there["kind"] == "numpy":  # `jax.eval_shape` knows no int64.
      dtypes.add(str(jax.dtypes.canonicalize_dtype(there["dtype"])))
    shape = tuple(there["shape"])
    if str(here.dtype) not in dtypes or here.shape != shape:
      problems.append(
        f"{name}: {there['dtype']}{list(shape)} in the checkpoint, "
        f"{here.dtype}{list(here.shape)} here"
      )
  if problems:
    shown = "".join(f"\n  {x}" for x in sorted(problems)[:10])
    more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
    raise ValueError(f"{where} is of another state:{shown}{more}")


def _sharding(template: Any) -> jax.sharding.Sharding:
  sharding = getattr(template, "sharding", None)
  if sharding is None:
    return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return sharding


def _as_numpy(leaf: Mapping[str, Any], template: Any) -> bool:
  """Whether a leaf stays on the host: it is there, or was and has no place."""
  on_host = isinstance(template, np.ndarray | np.generic)
  placed = getattr(template, "sharding", None) is not None
  return on_host or (leaf["kind"] == "numpy" and not placed)


def restore_arguments(
  ocp: types.ModuleType, recorded: Leaves, wanted: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """(item, restore_args): what is to be read, and where each leaf goes."""
  item, arguments = {}, {}
  for name, template in wanted.items():
    leaf = recorded[name]
    if not math.prod(leaf["shape"]):
      continue
    item[name] = 0
    if _as_numpy(leaf, template):
      arguments[name] = ocp.RestoreArgs(restore_type=np.ndarray)
    else:
      arguments[name] = ocp.ArrayRestoreArgs(
        restore_type=jax.Array, sharding=_sharding(template)
      )
  return _nest(item), _nest(arguments)


def from_store(
  stored: Mapping[str, Any],
  recorded: Leaves,
  template: Any,
  wanted: Mapping[str, Any],
) -> Any:
  """The state in the containers of `template`."""
  flat = _flat(stored)
  leaves = [
    _finish(flat.get(name), recorded[name], x) for name, x in wanted.items()
  ]
  return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _finish(x: Any, leaf: Mapping[str, Any], template: Any) -> Any:
  shape = tuple(leaf["shape"])
  if not math.prod(shape):
    if _as_numpy(leaf, template):
      return np.zeros(shape, leaf["dtype"])
    if _is_key(template):
      return jax.random.split(jax.random.key(0, impl=leaf["impl"]), shape)
    zeros = np.zeros(shape, template.dtype)
    of_shard: Callable[[Any], Any] = lambda index: zeros[index]
    return jax.make_array_from_callback(shape, _sharding(template), of_shard)
  if leaf["kind"] == "key":
    return jax.random.wrap_key_data(x, impl=leaf["impl"])
  return x
