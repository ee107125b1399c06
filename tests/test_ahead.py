"""Compiling ahead: what was compiled in a thread is not compiled again."""

import jax
import jax.numpy as jnp
import pytest

from rlx import ahead, compiles


def jitted():
  """A program that no other test has compiled."""
  return jax.jit(lambda x, scale: x * scale + 1, static_argnames="scale")


def test_what_is_compiled_ahead_is_only_looked_up():
  program, compiling = jitted(), ahead.Ahead()
  x = jax.device_put(jnp.zeros(3), jax.devices()[0])
  compiling.start(program, ahead.shape_of(x), scale=2.0)
  compiling.wait()
  with compiles.count() as counted:
    program(x, scale=2.0)
  assert counted.num == 0


def test_another_shape_or_setting_is_compiled_and_counted():
  program, compiling = jitted(), ahead.Ahead()
  x, longer = jnp.zeros(3), jnp.zeros(4)
  compiling.start(program, x, scale=2.0)
  compiling.wait()
  with compiles.count() as counted:
    program(x, scale=3.0)
    program(longer, scale=2.0)
    program(longer, scale=2.0)
  assert counted.num == 2
  assert counted.seconds > 0


def test_one_can_be_waited_for_by_its_name():
  program, compiling = jitted(), ahead.Ahead()
  sizes = {n: jnp.zeros(n) for n in (5, 6)}
  for n, x in sizes.items():
    compiling.start(program, x, scale=1.0, name=n)
  compiling.wait(6)
  with compiles.count() as counted:
    program(sizes[6], scale=1.0)
  assert counted.num == 0
  compiling.wait("what was never begun")
  compiling.wait()


def test_what_cannot_be_compiled_raises_where_it_is_called():
  broken = jax.jit(lambda x: jnp.reshape(x, (2,)))
  compiling = ahead.Ahead()
  compiling.start(broken, jnp.zeros(3))
  compiling.wait()
  with pytest.raises(TypeError, match="reshape"):
    broken(jnp.zeros(3))
