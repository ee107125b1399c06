"""Federated rounds: clients learn apart, the server puts them together."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Client = TypeVar("Client")


def shares(accuracies: Sequence[float] | np.ndarray | Array) -> Array:
  """The share of each client, in proportion to its accuracy; they sum to 1.

  An accuracy is that of the client's parameters on the client's own task. All
  are equal where every accuracy is 0.

  Raises:
    ValueError: there is no client, or an accuracy is negative or not finite.
  """
  known = np.asarray(accuracies, np.float32)
  if known.ndim != 1 or not len(known):
    raise ValueError(f"accuracies={accuracies}: must be one number a client")
  if not (np.isfinite(known) & (known >= 0)).all():
    raise ValueError(f"accuracies={accuracies}: must be finite and 0 or more")
  total = known.sum()
  even = np.full_like(known, 1 / len(known))
  return jnp.asarray(known / total if total > 0 else even)


def aggregate(params: Sequence[Any], shares: Float[Array, " C"]) -> Any:
  """The sum over clients of share * parameters, leaf by leaf, in float32.

  Raises:
    ValueError: there are not as many shares as clients.
  """
  if len(params) != len(shares):
    raise ValueError(f"{len(params)} clients have {len(shares)} shares")

  def one(*leaves):
    total = sum(
      (s * x.astype(jnp.float32) for s, x in zip(shares, leaves, strict=True)),
      jnp.zeros(leaves[0].shape),
    )
    return total.astype(leaves[0].dtype)

  return jax.tree.map(one, *params)


def federated_round(
  params: Any,
  clients: Sequence[Client],
  update: Callable[[Any, Client], tuple[Any, float | Array, Client]],
) -> tuple[Any, list[Client], Array]:
  """(the server's new parameters, the clients as they are now, their shares).

      theta <- sum_c a_c theta_c,   a proportional to task-matched accuracy

  Every client starts from the server's parameters. What is the client's own, as
  its optimiser and the weights of its objectives, stays with it.

  Args:
    params: of the server.
    clients: whatever `update` knows them by: data, objectives, state.
    update: `(params, client) -> (params, accuracy, client)`: what the client
      makes of the server's parameters, and how well that does on its own task.

  Source: FedMOA 2026, arXiv:2602.00453; inferred from its abstract.
  """
  done = [update(params, client) for client in clients]
  found = shares([float(accuracy) for _, accuracy, _ in done])
  new = aggregate([theta for theta, _, _ in done], found)
  return new, [client for _, _, client in done], found
