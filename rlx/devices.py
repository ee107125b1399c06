"""Simulated devices: several CPU devices in one process."""

import os


def prepare() -> None:
  """Makes simulated devices safe to compute on; call before JAX has any.

  Programs that are in flight at the same time share one pool of threads, and
  with collectives in each, on few cores, they can wait for one another for ever.
  So they run one after the other. Where there is one device nothing is changed.
  """
  if "xla_force_host_platform_device_count" not in os.environ.get(
    "XLA_FLAGS", ""
  ):
    return
  import jax

  jax.config.update("jax_cpu_enable_async_dispatch", False)
