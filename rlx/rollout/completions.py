"""Single-turn completions: one prefill a prompt, one decode, then rewards."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from rlx import tokenizer as tokenizers
from rlx.rollout import engine as engines
from rlx.rollout import episodes, record

# (prompts, completions, completion ids, columns, truncated) -> (rewards [B],
# per-step rewards or None, successes [B], metrics)
Score = Callable[..., tuple[np.ndarray, np.ndarray, dict[str, float]]]


def complete(
  engine: engines.Engine,
  params: Any,
  key: jax.Array,
  tokenizer: tokenizers.Tokenizer,
  score: Score,
  *,
  prompt_ids: Sequence[int],
  prompts: Sequence[Sequence[int]],
  rows: Sequence[Mapping[str, Any]],
  version: int,
) -> episodes.Played:
  """Samples `G` completions of each of `P` prompts and scores them.

  A completion is a trajectory of one step, so that single-turn and multi-turn
  batches are the same values. `stop` is "stop" or "max_tokens".

  Args:
    score: `(prompt rows, texts, token ids, truncated) -> (rewards, successes,
      metrics)`, each prompt row repeated for its group.
    rows: the data set's row of each prompt.
  """
  shape = engine.shape
  group = shape.num_samples
  log = record.Record.empty(
    np.repeat(np.asarray(prompt_ids), group),
    np.tile(np.arange(group), shape.num_prompts),
    length=shape.length,
    turns=1,
    version=version,
  )
  everyone = np.arange(shape.rows)
  log.observe(everyone, [prompts[row // group] for row in range(shape.rows)])
  clock = time.perf_counter()
  decoded, _ = engine.first(
    params,
    key,
    engine.place(np.asarray(prompt_ids, np.int32)),
    engine.place(log.tokens[::group, : shape.prompt_tokens].copy()),
    engine.place(log.length[::group].copy()),
  )
  written = jax.device_get(decoded)
  sampled = time.perf_counter()
  log.act(
    everyone,
    written.tokens,
    written.log_probs,
    written.raw_log_probs,
    written.length,
  )
  ids = [
    written.tokens[row, : written.length[row]].tolist() for row in everyone
  ]
  ended = written.stopped
  texts = [
    tokenizer.decode(x[:-1] if done else x)
    for x, done in zip(ids, ended, strict=True)
  ]
  repeated = [rows[row // group] for row in range(shape.rows)]
  rewards, success, found = score(repeated, texts, ids, ~ended)
  for row in everyone:
    log.pay(int(row), float(rewards[row]), 0, texts[row], 1)
  return episodes.Played(
    record=log,
    success=np.asarray(success, bool),
    stop=["stop" if done else "max_tokens" for done in ended],
    parse_errors=np.zeros(shape.rows, np.int32),
    seconds={
      "sample": sampled - clock,
      "reward": time.perf_counter() - sampled,
    },
    rewards=found,
  )
