"""Training on a group that shares a long prompt: once, and once for each row."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from rlx import learner, metrics, recipes, sharding, train_state
from rlx.bench import measure, workloads
from rlx.models import config as model_config
from rlx.models import policy as model_policy
from rlx.rollout import record


@dataclasses.dataclass(frozen=True)
class Workload:
  """One update of GRPO on `group` completions of one prompt, random tokens."""

  prompt_tokens: int = 512
  new_tokens: int = 64
  group: int = 8
  repeats: int = 7
  """Updates that are counted, of each kind; one before them is not."""
  model: model_config.DecoderConfig = workloads.MODEL

  @property
  def length(self) -> int:
    return self.prompt_tokens + self.new_tokens


def run(workload: Workload = Workload()) -> dict[str, Any]:
  """Returns what both kinds of update take, in turns, and how far they differ.

  `gradient_gap` is the largest difference of two entries of the gradient over
  its largest entry; `tokens` are columns that go through the model.
  """
  log = batch(workload)
  kinds = {share: _Kind(workload, share) for share in (True, False)}
  rollout, steps = log.rollout(), log.steps()
  found = {}
  for share, kind in kinds.items():
    kind.update(rollout, steps)
    found[share] = kind.gradient()
  seconds = {share: [] for share in kinds}
  for _ in range(workload.repeats):
    for share, kind in kinds.items():
      seconds[share].append(kind.update(rollout, steps))
  pairs = list(zip(seconds[False], seconds[True], strict=True))
  return {
    "bench": "train",
    "workload": dataclasses.asdict(workload),
    "shared_s": seconds[True],
    "unshared_s": seconds[False],
    "shared_s_min": min(seconds[True]),
    "unshared_s_min": min(seconds[False]),
    "ratio_min": min(seconds[False]) / min(seconds[True]),
    "ratio_median": statistics.median(a / b for a, b in pairs),
    "gradient_gap": _gap(found[True], found[False]),
    "shared_tokens": kinds[True].tokens(rollout),
    "unshared_tokens": kinds[False].tokens(rollout),
    "peak_rss_mib": measure.peak_mib(),
    **measure.surroundings(),
  }


def batch(workload: Workload) -> record.Record:
  """A group of random completions of a random prompt, each with a reward."""
  rng = np.random.default_rng(0)
  group, new = workload.group, workload.new_tokens
  rows = np.arange(group)
  log = record.Record.empty(
    rows * 0, rows, length=workload.length, turns=1, version=0
  )
  draw = lambda *shape: rng.integers(3, workload.model.vocab_size, shape)
  log.observe(rows, [draw(workload.prompt_tokens).tolist()] * group)
  guess = np.full((group, new), -np.log(workload.model.vocab_size), np.float32)
  log.act(rows, draw(group, new), guess, guess, np.full(group, new))
  for row in rows.tolist():
    log.pay(row, float(rng.random()), 0, row, 0)
  return log


class _Kind:
  """A learner with its state."""

  def __init__(self, workload: Workload, share: bool):
    mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:1])
    self._share, self._workload = share, workload
    self._learner = learner.make_learner(
      model_policy.make_policy(workload.model),
      recipes.grpo(),
      workloads.GRPO.optimizer,
      train_state.LearnerConfig(share_prefixes=share),
      mesh=mesh,
      temperature=1.0,
      rows=workload.group,
      length=workload.length,
      prompt=workload.prompt_tokens,
      group=workload.group,
      max_chosen=workload.new_tokens,
    )
    self._state = self._learner.init(jax.random.key(0))

  def update(self, rollout: Any, steps: Any) -> float:
    """Returns how long an update took."""
    began = time.perf_counter()
    self._state, found, _ = self._learner.update(
      self._state, None, rollout, steps
    )
    metrics.fetch(found)
    jax.block_until_ready(self._state.params)
    return time.perf_counter() - began

  def gradient(self) -> Any:
    """Of the first update: Adam's mean is a tenth of it."""
    mean = optax.tree_utils.tree_get(self._state.opt_state, "mu")
    return jax.tree.map(np.array, mean)

  def tokens(self, rollout: Any) -> int:
    return self._learner.tokens(rollout)


def _gap(got: Any, want: Any) -> float:
  largest: Callable[[Any], float] = lambda tree: max(
    float(np.abs(x).max()) for x in jax.tree.leaves(tree)
  )
  return largest(jax.tree.map(np.subtract, got, want)) / largest(want)
