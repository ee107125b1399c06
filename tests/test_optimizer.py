"""AdamW with a schedule and a clip, against its formula."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rlx import optimizer

Config = optimizer.OptimizerConfig


@pytest.mark.parametrize(
  "fields, want",
  [
    ({}, {0: 2.0, 1: 2.0, 100: 2.0}),
    ({"warmup_steps": 4}, {0: 0.0, 1: 0.5, 4: 2.0, 9: 2.0}),
    (
      {"decay": "linear", "decay_steps": 10},
      {0: 2.0, 5: 1.0, 10: 0.0, 20: 0.0},
    ),
    (
      {"decay": "linear", "decay_steps": 12, "warmup_steps": 2},
      {1: 1.0, 2: 2.0, 7: 1.0, 12: 0.0},
    ),
    (
      {"decay": "cosine", "decay_steps": 10, "final_fraction": 0.1},
      {0: 2.0, 5: 1.1, 10: 0.2, 11: 0.2},
    ),
  ],
)
def test_the_learning_rate_is_a_function_of_the_updates_done(fields, want):
  rate = optimizer.schedule(Config(learning_rate=2.0, **fields))
  for step, value in want.items():
    np.testing.assert_allclose(np.asarray(rate(step)), value, atol=1e-6)


def adam(config, gradients, params):
  """AdamW by the book (Loshchilov and Hutter 2019, Algorithm 2), in float64."""
  mean = square = 0.0
  for t, grad in enumerate(gradients, start=1):
    grad = np.asarray(grad, float)
    norm = np.sqrt((grad**2).sum())
    if config.max_grad_norm:
      grad = grad * min(1.0, config.max_grad_norm / norm)
    mean = config.b1 * mean + (1 - config.b1) * grad
    square = config.b2 * square + (1 - config.b2) * grad**2
    corrected = mean / (1 - config.b1**t)
    root = np.sqrt(square / (1 - config.b2**t))
    step = corrected / (root + config.eps) + config.weight_decay * params
    params = params - config.learning_rate * step
  return params


@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_an_update_is_adamw_on_the_clipped_gradient(
  max_grad_norm, weight_decay
):
  config = Config(
    learning_rate=0.1, max_grad_norm=max_grad_norm, weight_decay=weight_decay
  )
  gradients = np.array([[3.0, -4.0], [0.1, 0.2], [-1.0, 5.0]], np.float32)
  start = np.array([1.0, -2.0])
  made, params = optimizer.make_optimizer(config), jnp.float32(start)
  state = made.init(params)
  for grad in gradients:
    updates, state = made.update(jnp.asarray(grad), state, params)
    params = optax.apply_updates(params, updates)
  want = adam(config, gradients, start)
  np.testing.assert_allclose(np.asarray(params), want, rtol=1e-5)


def test_the_clip_is_of_the_whole_gradient_and_not_of_each_parameter():
  made = optimizer.make_optimizer(Config(learning_rate=0.1))
  tree = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
  _, state = made.update(tree, made.init(tree), tree)
  mean = optax.tree_utils.tree_get(state, "mu")
  # A tenth of (3, 4) / 5.
  np.testing.assert_allclose(mean["a"], 0.06, rtol=1e-5)
  np.testing.assert_allclose(mean["b"], 0.08, rtol=1e-5)


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"learning_rate": 0.0}, "learning_rate=0.0: must be positive"),
    ({"learning_rate": float("nan")}, "learning_rate=nan"),
    ({"warmup_steps": -1}, "warmup_steps=-1"),
    ({"decay": "linear"}, "decay=linear needs decay_steps > warmup_steps"),
    (
      {"decay": "cosine", "warmup_steps": 5, "decay_steps": 5},
      "not 5 and 5",
    ),
    ({"max_grad_norm": -1.0}, "max_grad_norm=-1.0: must be 0 or more"),
    ({"b1": 1.0}, r"b1=1.0: must be in \[0, 1\)"),
    ({"b2": -0.1}, r"b2=-0.1: must be in \[0, 1\)"),
    ({"eps": 0.0}, "eps=0.0: must be positive"),
    ({"weight_decay": -0.1}, "weight_decay=-0.1"),
  ],
)
def test_impossible_settings_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    Config(**fields)
