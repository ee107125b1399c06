"""The numbers of `jax.random` for many keys at once, in one pass.

On a CPU `jax.random` computes Threefry in a loop that writes all its state to
memory again and again, which takes longer than a small model takes to predict.
Here a number is one expression of its counter. The numbers are the same, bit
for bit, as those of JAX's default (`jax_threefry_partitionable`). Keys of other
generators are left to `jax.random`.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3";
Threefry-2x32 with 20 rounds.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def fold_in(keys: Key[Array, " N"], data: Int[Array, " N"]) -> Key[Array, " N"]:
  """`jax.random.fold_in` of each key with its number."""
  if not _is_threefry(keys):
    return jax.vmap(jax.random.fold_in)(keys, data)
  low = data.astype(jnp.uint32)
  words = _threefry(jax.random.key_data(keys), jnp.zeros_like(low), low)
  return jax.random.wrap_key_data(jnp.stack(words, -1), impl="threefry2x32")


def gumbel(keys: Key[Array, " N"], size: int) -> Float[Array, "N {size}"]:
  """`jax.random.gumbel` of each key: -log(-log(u)), u uniform in (0, 1)."""
  if not _is_threefry(keys):
    return jax.vmap(lambda key: jax.random.gumbel(key, (size,)))(keys)
  words = jax.random.key_data(keys)[:, None]
  low = jnp.arange(size, dtype=jnp.uint32)[None]
  first, second = _threefry(words, jnp.zeros_like(low), low)
  return -jnp.log(-jnp.log(_uniform(first ^ second)))


def _is_threefry(keys: Key[Array, "..."]) -> bool:
  return jax.random.key_impl(keys) == "threefry2x32"


def _uniform(bits: UInt[Array, "*N"]) -> Float[Array, "*N"]:
  """Floats from the smallest normal one to 1, which is left out."""
  # 23 bits of mantissa in [1, 2).
  one = jnp.uint32(0x3F800000)
  floats = jax.lax.bitcast_convert_type((bits >> 9) | one, jnp.float32) - 1
  tiny = jnp.finfo(jnp.float32).tiny
  return jnp.maximum(tiny, floats * (1 - tiny) + tiny)


def _threefry(
  key: UInt[Array, "*N 2"], high: UInt[Array, "*C"], low: UInt[Array, "*C"]
) -> tuple[Array, Array]:
  """The two words that a key makes of a counter of two words."""
  a, b = key[..., 0], key[..., 1]
  schedule = (a, b, a ^ b ^ jnp.uint32(_PARITY))
  x, y = high + a, low + b
  for i in range(5):
    for by in _ROTATIONS[i % 2]:
      x = x + y
      y = (y << by) | (y >> (32 - by))
      y = x ^ y
    x = x + schedule[(i + 1) % 3]
    y = y + schedule[(i + 2) % 3] + jnp.uint32(i + 1)
  return x, y
