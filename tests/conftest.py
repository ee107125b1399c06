"""Settings of every test: eight simulated devices, one compilation cache."""

import os
import pathlib
import tempfile

_FLAGS = (
  "--xla_force_host_platform_device_count=8",
  # Eight devices on two busy cores may be slow to meet.
  "--xla_cpu_collective_call_terminate_timeout_seconds=300",
  # Programs run once or twice: most of the time is spent on compiling them.
  "--xla_backend_optimization_level=0",
  "--xla_llvm_disable_expensive_passes=true",
)
# What is set already comes last, and wins.
os.environ["XLA_FLAGS"] = " ".join([*_FLAGS, os.environ.get("XLA_FLAGS", "")])
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

from rlx import devices

devices.prepare()
jax.config.update("jax_numpy_rank_promotion", "raise")
_CACHE = pathlib.Path(tempfile.gettempdir()) / "rlx-test-compilation-cache"
jax.config.update("jax_compilation_cache_dir", str(_CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
