"""Training on long rows beside the arithmetic that the machine can do.

Model FLOPs utilisation as of Chowdhery et al. 2022 (PaLM), appendix B, with the
causal half of attention only: padding, what is computed again and what is masked
away do not count as work.
"""

import dataclasses
import math
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlx import learner, metrics, recipes, sharding, train_state
from rlx.bench import measure, rollout_limit, rollout_peaks, workloads
from rlx.models import config as model_config
from rlx.models import policy as model_policy
from rlx.rollout import record


@dataclasses.dataclass(frozen=True)
class Workload:
  """One update of GRPO on rows that share nothing, random tokens."""

  length: int = 2048
  prompt_tokens: int = 16
  rows: int = 2
  repeats: int = 7
  """Updates that are counted; one before them is not."""
  model: model_config.DecoderConfig = workloads.MODEL
  learner: train_state.LearnerConfig = train_state.LearnerConfig()
  product: int = 1024
  """Rows and columns of the matrices whose product is the measured peak."""


def workload(length: int, repeats: int) -> Workload:
  """Returns the bench model's; on an accelerator that of the 0.6B shape."""
  if jax.default_backend() == "cpu":
    return Workload(length=length, repeats=repeats)
  model = dataclasses.replace(rollout_limit.SMALL, layers="scan", remat="block")
  return Workload(
    length=length,
    rows=8,
    repeats=repeats,
    model=model,
    learner=train_state.LearnerConfig(microbatch_tokens=4 * length),
    product=8192,
  )


def run(workload: Workload = Workload()) -> dict[str, Any]:
  """Returns what an update takes, and its `mfu`:

      model FLOPs / (median seconds · peak FLOPs/s)

  The peak is the published one, of bfloat16, where the device is in
  `rollout_peaks`; else the fastest product of two matrices, measured before and
  after, in the dtype of the model. `of_measured` is of the latter in any case.
  """
  kind = jax.devices()[0].device_kind
  flops = model_flops(workload)
  speed = product_flops(workload)
  seconds = _updates(workload)
  speed = max(speed, product_flops(workload))
  peak = None
  if workload.model.dtype == "bfloat16":
    peak = rollout_peaks.FLOPS_PER_S.get(kind)
  rate = sum(flops.values()) / statistics.median(seconds)
  return {
    "bench": "train",
    "workload": dataclasses.asdict(workload),
    "device": kind,
    "update_s": seconds,
    "tokens_per_s": workload.rows
    * workload.length
    / statistics.median(seconds),
    **flops,
    "flops_per_s": rate,
    "flops_measured": speed,
    "flops_peak": peak,
    "of_measured": rate / speed,
    "mfu": rate / (peak or speed),
    "peak_rss_mib": measure.peak_mib(),
    **measure.surroundings(),
  }


def model_flops(workload: Workload) -> dict[str, float]:
  """Returns the operations of an update, forwards and backwards.

  With T tokens of a row that predict one, C of them chosen ones, N parameters
  below the head, layers Λ, heads H of size D, vocabulary V and width E:

      body       rows · 6 N T
      head       rows · 6 V E C
      attention  rows · 3 Λ · 4 H D · T (T + 1) / 2

  An embedding that is not the head is looked up, which is no arithmetic.
  """
  model = workload.model
  shapes = jax.eval_shape(
    model_policy.make_policy(model).init, jax.random.key(0)
  )
  num = sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))
  head = model.vocab_size * model.embed_dim
  body = num - head * (1 if model.tied_embeddings else 2)
  seen = workload.length - 1
  chosen = workload.length - workload.prompt_tokens
  width = model.num_layers * model.num_heads * model.head_dim
  rows = float(workload.rows)
  return {
    "flops_body": rows * 6 * body * seen,
    "flops_head": rows * 6 * head * chosen,
    "flops_attention": rows * 6 * width * seen * (seen + 1),
  }


def product_flops(workload: Workload) -> float:
  """Returns operations/s of the product of two square matrices, at best."""
  size = workload.product
  key = jax.random.key(0)
  x = jax.random.normal(key, (size, size), workload.model.dtype)
  product = jax.jit(jnp.matmul)
  jax.block_until_ready(product(x, x))
  seconds = []
  for _ in range(15):
    began = time.perf_counter()
    jax.block_until_ready(product(x, x))
    seconds.append(time.perf_counter() - began)
  return 2 * size**3 / min(seconds)


def _updates(workload: Workload) -> list[float]:
  """Seconds of each update but the first."""
  log = _batch(workload)
  made = learner.make_learner(
    model_policy.make_policy(workload.model),
    recipes.grpo(),
    workloads.GRPO.optimizer,
    workload.learner,
    mesh=sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:1]),
    temperature=1.0,
    rows=workload.rows,
    length=workload.length,
    max_chosen=workload.length - workload.prompt_tokens,
  )
  state = made.init(jax.random.key(0))
  rollout, steps = log.rollout(), log.steps()
  seconds = []
  for _ in range(1 + workload.repeats):
    began = time.perf_counter()
    state, found, _ = made.update(state, None, rollout, steps)
    metrics.fetch(found)
    jax.block_until_ready(state.params)
    seconds.append(time.perf_counter() - began)
  return seconds[1:]


def _batch(workload: Workload) -> record.Record:
  """Completions that are as long as they may be, each with a reward."""
  rng = np.random.default_rng(0)
  rows = np.arange(workload.rows)
  log = record.Record.empty(
    rows * 0, rows, length=workload.length, turns=1, version=0
  )
  vocab, new = (
    workload.model.vocab_size,
    workload.length - workload.prompt_tokens,
  )
  draw = lambda width: rng.integers(3, vocab, (len(rows), width))
  log.observe(rows, draw(workload.prompt_tokens).tolist())
  guess = np.full((len(rows), new), -np.log(vocab), np.float32)
  log.act(rows, draw(new), guess, guess, np.full(len(rows), new))
  for row in rows.tolist():
    log.pay(row, float(rng.random()), 0, row, 0)
  return log
