"""Federated rounds over simulated clients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import federated


def test_shares_are_in_proportion_to_accuracy():
  np.testing.assert_allclose(federated.shares([0.6, 0.2, 0.0]), [0.75, 0.25, 0])
  np.testing.assert_allclose(federated.shares([0.0, 0.0]), [0.5, 0.5])


@pytest.mark.parametrize("bad", [[], [0.5, -0.1], [float("nan")]])
def test_accuracies_must_be_numbers_of_clients(bad):
  with pytest.raises(ValueError, match="accuracies="):
    federated.shares(bad)


def test_the_server_takes_the_weighted_mean_leaf_by_leaf():
  clients = [
    {"w": jnp.ones(2), "b": jnp.bfloat16(4)},
    {"w": jnp.full(2, 3.0), "b": jnp.bfloat16(8)},
  ]
  got = federated.aggregate(clients, jnp.array([0.25, 0.75]))
  assert got["w"].tolist() == [2.5, 2.5]
  assert got["b"] == 7
  assert got["b"].dtype == jnp.bfloat16
  with pytest.raises(ValueError, match="2 clients have 3 shares"):
    federated.aggregate(clients, jnp.ones(3) / 3)


def test_equal_clients_change_nothing_by_being_put_together():
  params = {"w": jnp.array([0.1, 0.7])}
  stay = lambda params, client: (params, 0.3, client)
  new, clients, shares = federated.federated_round(params, "abc", stay)
  np.testing.assert_allclose(new["w"], params["w"], rtol=1e-6)
  assert clients == ["a", "b", "c"]
  np.testing.assert_allclose(shares, 1 / 3, rtol=1e-6)


# Each client wants two things of a softmax: its own action, and a sure mind.
ACTIONS = (0, 0, 1)


def objectives(params, action):
  log_probs = jax.nn.log_softmax(params["logits"])
  p = jnp.exp(log_probs)
  return p[action], jnp.sum(p * log_probs)


@jax.jit
def learn(params, client):
  def total(params):
    own, sure = objectives(params, client["action"])
    return own + 0.1 * sure

  for _ in range(5):
    grads = jax.grad(total)(params)
    params = jax.tree.map(lambda p, g: p + g, params, grads)
  accuracy = objectives(params, client["action"])[0]
  return params, accuracy, client | {"rounds": client["rounds"] + 1}


def test_rounds_serve_the_clients_by_how_well_they_do():
  params = {"logits": jnp.zeros(3)}
  clients = [{"action": jnp.int32(a), "rounds": jnp.int32(0)} for a in ACTIONS]
  shares = jnp.zeros(3)
  for _ in range(10):
    params, clients, shares = federated.federated_round(params, clients, learn)
  assert [int(client["rounds"]) for client in clients] == [10, 10, 10]
  np.testing.assert_allclose(shares.sum(), 1, rtol=1e-6)
  p = jax.nn.softmax(params["logits"])
  # Two of three want the first, and nobody the last.
  assert p[0] > 0.5 > p[1] > p[2]
