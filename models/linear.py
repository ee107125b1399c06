"""Products with weights, and the gate of the MLP, with few passes backwards.

Every weight has the residual width first: [D, *out] where it reads the residual
stream and [D, *in] where it writes to it. A gradient then is a product that
transposes the narrow operand (width D) and never the wide one.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


@jax.custom_vjp
def read(
  x: Float[Array, "B L D"], weight: Float[Array, "D *F"]
) -> Float[Array, "B L *F"]:
  """Σ_d x[…, d] · weight[d, …]."""
  return lax.dot_general(x, weight, (((2,), (0,)), ((), ())))


def _read_forward(x, weight):
  return read(x, weight), (x, weight)


def _read_backward(saved, out):
  x, weight = saved
  # Derived automatically it is (out · x) transposed, which transposes `out`,
  # several times wider than x, and then the result.
  wide = tuple(range(2, out.ndim)), tuple(range(1, weight.ndim))
  to_x = lax.dot_general(out, weight, (wide, ((), ())))
  to_weight = lax.dot_general(x, out, (((0, 1), (0, 1)), ((), ())))
  return to_x, to_weight


read.defvjp(_read_forward, _read_backward)


def write(
  x: Float[Array, "B L *F"], weight: Float[Array, "D *F"]
) -> Float[Array, "B L D"]:
  """Σ_f x[…, f] · weight[d, f], over all axes f."""
  wide = tuple(range(2, x.ndim)), tuple(range(1, weight.ndim))
  return lax.dot_general(x, weight, (wide, ((), ())))


@jax.custom_vjp
def swiglu(gate_up: Float[Array, "B L 2 F"]) -> Float[Array, "B L F"]:
  """silu(gate) * up. Source: Shazeer 2020, arXiv:2002.05202, Eq. 6."""
  return jax.nn.silu(gate_up[:, :, 0]) * gate_up[:, :, 1]


def _swiglu_forward(gate_up):
  return swiglu(gate_up), gate_up


def _swiglu_backward(gate_up, out):
  # One pass that writes both halves; derived automatically it is two padded
  # halves and their sum. The barrier keeps the sigmoid from being shared with
  # the forward pass: to write it and read it again costs more than it.
  gate_up = lax.optimization_barrier(gate_up)
  gate, up = gate_up[:, :, 0], gate_up[:, :, 1]
  share = jax.nn.sigmoid(gate)
  to_gate = out * up * share * (1 + gate * (1 - share))
  return (jnp.stack([to_gate, out * gate * share], axis=2),)


swiglu.defvjp(_swiglu_forward, _swiglu_backward)
