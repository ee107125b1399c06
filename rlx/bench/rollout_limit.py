"""Decoding beside the memory's speed: what must move for a token, and how fast.

A decoding step reads every parameter and each row's keys and values, and writes
one token's. What it takes at the least is these bytes over the bandwidth.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rlx.bench import rollout_peaks, workloads
from rlx.models import config as model_config
from rlx.models import policy as model_policy
from rlx.models import qwen3
from rlx.rollout import decode, sampling

SMALL = dataclasses.replace(qwen3.QWEN3_0P6B, dtype="bfloat16", layers="unroll")
LARGE = dataclasses.replace(qwen3.QWEN3_8B, dtype="bfloat16", layers="unroll")


@dataclasses.dataclass(frozen=True)
class Workload:
  """Rows of one prompt each that write without an end."""

  name: str = "bench"
  model: model_config.DecoderConfig = workloads.MODEL
  rows: tuple[int, ...] = (1, 32, 256)
  prompt_tokens: int = 128
  new_tokens: int = 64


def cases() -> tuple[Workload, ...]:
  """Returns the bench model, and on an accelerator two of real sizes."""
  if jax.default_backend() == "cpu":
    return (Workload(),)
  real = (("0.6B", SMALL), ("8B", LARGE))
  return (Workload(), *(Workload(name, model) for name, model in real))


def run(
  workloads_: Sequence[Workload] | None = None, repeats: int = 5
) -> dict[str, Any]:
  """Returns bytes and seconds of a step of each case, and their fractions.

  `of_measured` is of the bandwidth measured here, `of_peak` of the published one
  where the device is in `rollout_peaks`; 1 is the limit.
  """
  kind = jax.devices()[0].device_kind
  speed, peak = bandwidth(), rollout_peaks.BYTES_PER_S.get(kind)
  found = []
  for workload in cases() if workloads_ is None else workloads_:
    params = _params(workload.model)
    for rows in workload.rows:
      seconds = _seconds(workload, params, rows, repeats)
      moved = step_bytes(workload, rows)
      total = sum(moved.values())
      found.append(
        {
          "model": workload.name,
          "rows": rows,
          "step_ms": 1e3 * seconds,
          "tokens_per_s": rows / seconds,
          **moved,
          "bytes_per_token": total / rows,
          "of_measured": total / seconds / speed,
          "of_peak": None if peak is None else total / seconds / peak,
        }
      )
    del params
  return {
    "device": kind,
    "bandwidth_measured": speed,
    "bandwidth_peak": peak,
    "cases": found,
  }


def step_bytes(workload: Workload, rows: int) -> dict[str, float]:
  """Returns the bytes of a step, averaged over the new tokens.

  In the dtype of the computation. Of an embedding that is not the head, a row
  for each token is read.
  """
  model = workload.model
  size = jnp.dtype(model.dtype).itemsize
  shapes = jax.eval_shape(
    model_policy.make_policy(model).init, jax.random.key(0)
  )
  num = sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))
  if not model.tied_embeddings:
    num -= (model.vocab_size - rows) * model.embed_dim
  token = 2 * model.num_layers * model.num_kv_heads * model.head_dim * size
  seen = workload.prompt_tokens + (workload.new_tokens + 1) / 2
  return {
    "parameter_bytes": float(num * size),
    "kv_read_bytes": float(rows * token * seen),
    "kv_written_bytes": float(rows * token),
  }


def bandwidth(mebibytes: int = 256) -> float:
  """Returns bytes/s of a stream, read or copied: the faster of the two."""
  x = jnp.zeros((mebibytes, 2**18), jnp.float32)
  read = jax.jit(jnp.sum)
  copy = jax.jit(lambda x: x + 1)
  return max(
    x.nbytes / _fastest(lambda: read(x), 7),
    2 * x.nbytes / _fastest(lambda: copy(x), 7),
  )


def _fastest(call: Callable[[], Any], repeats: int) -> float:
  return min(_times(call, repeats))


def _times(call: Callable[[], Any], repeats: int) -> list[float]:
  jax.block_until_ready(call())
  out = []
  for _ in range(repeats):
    began = time.perf_counter()
    jax.block_until_ready(call())
    out.append(time.perf_counter() - began)
  return out


def _params(model: model_config.DecoderConfig) -> Any:
  """Made in the dtype of the computation: no step rounds a master."""
  init = model_policy.make_policy(model).init
  cast = lambda tree: jax.tree.map(lambda x: x.astype(model.dtype), tree)
  return jax.jit(lambda key: cast(init(key)))(jax.random.key(0))


def _seconds(workload: Workload, params: Any, rows: int, repeats: int) -> float:
  """Median seconds of a step, of whole loops without their prefill."""
  model = model_policy.make_policy(workload.model)
  prompt, new = workload.prompt_tokens, workload.new_tokens

  @jax.jit
  def prefill(params):
    tokens = jnp.ones((rows, prompt), jnp.int32)
    length = jnp.full((rows,), prompt, jnp.int32)
    return decode.prefill(model, params, tokens, length, prompt)

  @jax.jit
  def write(params, hidden, trunk):
    cut = jnp.full((rows,), prompt, jnp.int32)
    keys = sampling.row_keys(jax.random.key(0), jnp.arange(rows), 0 * cut)
    return decode.decode(
      *(model, params, model.init_cache(rows, new), hidden, cut, cut > 0),
      keys,
      sampling=sampling.Sampling(),
      stop_ids=(),
      max_new=new,
      window=new,
      trunk=trunk,
      cut=cut,
    )[0]

  hidden, trunk = prefill(params)
  loops = _times(lambda: write(params, hidden, trunk), repeats)
  return statistics.median(loops) / new
