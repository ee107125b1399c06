"""Products with weights, and the gate of the MLP, with few passes backwards.

Every weight has the residual width first: [D, *wide] whether it reads the
residual stream or writes to it. A gradient then is a product that transposes
its narrow operand (width D) and never the wide one.

Weights come as float32 masters and are rounded here to the dtype of x; their
gradients are float32, accumulated without rounding.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def dot(left, right, left_axes, right_axes, batch_axes=(), dtype=None):
  """`lax.dot_general`; float32 operands are not rounded on any platform.

  Args:
    dtype: Of the result and of the accumulation; None: the operands'.
  """
  # The default is bfloat16 on a TPU, and TF32 on a GPU.
  wide = left.dtype == jnp.float32 and right.dtype == jnp.float32
  return lax.dot_general(
    left,
    right,
    ((left_axes, right_axes), (batch_axes, batch_axes)),
    precision=lax.Precision.HIGHEST if wide else None,
    preferred_element_type=dtype,
  )


@jax.custom_vjp
def read(
  x: Float[Array, "B L D"], weight: Float[Array, "D *F"]
) -> Float[Array, "B L *F"]:
  """Σ_d x[…, d] · weight[d, …]."""
  return dot(x, weight.astype(x.dtype), (2,), (0,))


def _read_forward(x, weight):
  return read(x, weight), (x, weight)


def _read_backward(saved, out):
  x, weight = saved
  to_x = dot(out, weight.astype(x.dtype), *_wide(out, weight))
  # Derived automatically it is (out · x) transposed: that transposes `out`,
  # several times wider than x, and then the result.
  to_weight = dot(x, out, (0, 1), (0, 1), dtype=weight.dtype)
  return to_x, to_weight


read.defvjp(_read_forward, _read_backward)


@jax.custom_vjp
def write(
  x: Float[Array, "B L *F"], weight: Float[Array, "D *F"]
) -> Float[Array, "B L D"]:
  """Σ_f x[…, f] · weight[d, f], over all axes f."""
  return dot(x, weight.astype(x.dtype), *_wide(x, weight))


def _write_forward(x, weight):
  return write(x, weight), (x, weight)


def _write_backward(saved, out):
  x, weight = saved
  to_x = dot(out, weight.astype(x.dtype), (2,), (0,))
  to_weight = dot(out, x, (0, 1), (0, 1), dtype=weight.dtype)
  return to_x, to_weight


write.defvjp(_write_forward, _write_backward)


def _wide(x, weight):
  return tuple(range(2, x.ndim)), tuple(range(1, weight.ndim))


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
