"""The state before the first update: what it is, and where."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from rlx import sharding, train_state


def init(
  model, value, recipe, providers, memory, optimizer, key, policy=None
) -> train_state.TrainState:
  if policy is None:
    policy = model.init(jax.random.fold_in(key, 0))
  params = {"policy": policy}
  if value is not None:
    params["value"] = value.init(jax.random.fold_in(key, 1))
  return train_state.TrainState(
    step=jnp.int32(0),
    params=params,
    opt_state=optimizer.init(params),
    credit=recipe.credit.init(),
    evidence=tuple(
      each.init(jax.random.fold_in(key, 3 + place), policy)
      for place, each in enumerate(providers)
    ),
    memory=jax.tree.map(jnp.asarray, memory),
    key=jax.random.key_data(jax.random.fold_in(key, 2)),
    cursor=jnp.int32(0),
    skipped=jnp.int32(0),
    best=jnp.float32(-jnp.inf),
  )


def abstract(start, model, value, optimizer, mesh):
  """Returns what each leaf is, and where: the optimiser's as the parameters'."""
  shapes = jax.eval_shape(start, jax.random.key(0))
  axes = {"policy": model.axes}
  if value is not None:
    axes["value"] = value.axes
  sharding.check_params(axes, shapes.params, mesh)
  params = sharding.shardings(axes, mesh)
  whole = sharding.replicated(mesh)
  opt_state = optax.tree_utils.tree_map_params(
    optimizer,
    lambda _, place: place,
    shapes.opt_state,
    params,
    transform_non_params=lambda _: whole,
  )
  known = {
    name: iter(jax.tree.leaves(tree))
    for name, tree in (("params", params), ("opt_state", opt_state))
  }
  copies = _copies(params["policy"], shapes.params["policy"], whole)

  def place(path, x):
    if path[0].name in known:
      return next(known[path[0].name])
    return copies(path, x) if path[0].name == "evidence" else whole

  # Leaf by leaf, as a state is annotated to hold arrays.
  flat, structure = jax.tree_util.tree_flatten_with_path(shapes)
  return structure.unflatten(
    jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place(path, x))
    for path, x in flat
  )


def _copies(placements, shapes, whole) -> Callable:
  """Returns where a leaf goes that ends like a parameter of the policy does.

  That finds copies of the parameters, and what optimisers keep of them.
  """
  flat = lambda tree: jax.tree_util.tree_flatten_with_path(tree)[0]
  known = {
    path: (x.shape, place)
    for (path, x), (_, place) in zip(
      flat(shapes), flat(placements), strict=True
    )
  }

  def place(path, x):
    for start in range(len(path)):
      shape, found = known.get(path[start:], (None, whole))
      if shape == x.shape:
        return found
    return whole

  return place
