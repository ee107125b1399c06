"""Rollouts in which everything is real but the policy, which has a script."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from rlx import experiment, recipes, rollouts
from rlx import tokenizer as tokenizers
from rlx.rollout import config as rollout_config
from rlx.rollout import decode, engine, forks, plan
from tests import tiny

# (the row's text with all markers, row, which draw of the batch) -> action
Say = Callable[[str, int, int], str]


def gather(
  monkeypatch: Any,
  task: Any,
  how: plan.Plan,
  say: Say,
  *,
  evidence: tuple[str, ...] = (),
  sizes: dict[str, Any],
):
  """Returns `(prompt ids, memory) -> (Played, memory)`, and the first memory.

  A draw is a call of `sample` or a part of one of `continue_from`.
  """
  tokenizer = tokenizers.WordTokenizer(task.words())
  draws: list[int] = []
  for where in (engine, forks):
    monkeypatch.setattr(
      where,
      "make_engine",
      lambda model, shape, **_: _engine(shape, tokenizer, say, draws),
    )
  chosen = experiment.TrainConfig(
    name="scripted",
    model=None,
    task=task,
    recipe=None,
    rollout=rollout_config.RolloutConfig(**sizes),
  )
  recipe = dataclasses.replace(recipes.grpo(), plan=how, evidence=evidence)
  columns = rollouts.columns(task, recipe)
  made = rollouts.collect(
    *(chosen, recipe, columns, tiny.policy(), tokenizer, tiny.one_device())
  )
  shape = rollouts.shape_of(chosen)

  def collect(ids, memory):
    draws.clear()
    found, memory = made.gather((None, ()), ids, ids, 3, memory)
    size = how.size(shape)
    assert found.record.tokens.shape == (size.rows, size.length)
    assert found.record.reward.shape == (size.rows, size.turns)
    check(found.record)
    return found, memory

  return collect, how.memory(shape)


def _engine(shape, tokenizer, say: Say, draws: list[int]) -> engine.Engine:
  contexts: list[list[int]] = []

  def write(live):
    tokens = np.zeros((shape.rows, shape.action_tokens), np.int32)
    length = np.ones(shape.rows, np.int32)
    for row in np.flatnonzero(live):
      text = tokenizer.decode(contexts[row], skip_special_tokens=False)
      said = tokenizer.encode(say(text, int(row), draws[-1]))
      ids = [*said, tokenizer.stop_ids[0]]
      tokens[row, : len(ids)] = ids
      length[row] = len(ids)
      contexts[row] += ids
    inside = np.arange(shape.action_tokens)[None] < length[:, None]
    log_probs = jnp.asarray(np.where(inside, -1.0, 0.0), jnp.float32)
    return decode.Decoded(
      tokens=jnp.asarray(tokens),
      log_probs=log_probs,
      raw_log_probs=log_probs,
      length=jnp.asarray(length),
      stopped=jnp.ones(shape.rows, bool),
    ), None

  def first(params, key, ids, tokens, length, limit=None):
    del params, key, ids, limit
    draws.append(len(draws))
    contexts[:] = [
      tokens[
        row // shape.num_samples, : length[row // shape.num_samples]
      ].tolist()
      for row in range(shape.rows)
    ]
    return write(np.ones(shape.rows, bool))

  def turn(
    params, key, cache, ids, samples, tokens, start, length, live, window
  ):
    del params, key, cache, ids, samples, start, window
    for row in np.flatnonzero(live):
      contexts[row] += tokens[row, 1 : length[row]].tolist()
    return write(live)

  return engine.Engine(shape, first, turn, lambda x: x)


def texts(found, task) -> list[str]:
  """Every row with all markers."""
  tokenizer = tokenizers.WordTokenizer(task.words())
  log = found.record
  return [
    tokenizer.decode(log.tokens[row, :n].tolist(), skip_special_tokens=False)
    for row, n in enumerate(log.length)
  ]


def check(log) -> None:
  """What holds of every record, however it came about."""
  width = log.reward.shape[1]
  inside = np.arange(log.tokens.shape[1])[None] < log.length[:, None]
  assert not log.tokens[~inside].any()
  assert not (log.mask & ~inside).any()
  assert (log.segment[~inside] == -1).all()
  # Chosen tokens belong to a step, and only they have log-probabilities.
  assert (log.segment[log.mask] >= 0).all()
  for x in (log.log_probs, log.raw_log_probs):
    # Rows that a filter left out of the loss have theirs still.
    in_loss = log.mask.any(1)
    assert not x[in_loss][~log.mask[in_loss]].any()
    assert not x[~inside].any()
  for row, turns in enumerate(log.turns):
    own = log.segment[row][log.segment[row] >= 0]
    assert (own // width == row).all()
    assert (np.diff(own) >= 0).all()
    assert (own % width < turns).all()
    unused = np.arange(width) >= turns
    for x in (log.reward, *log.columns.values()):
      assert x.shape == log.reward.shape
    assert not log.reward[row, unused].any()
    # Each step's tokens stand together.
    for step in np.unique(own):
      at = np.flatnonzero(log.segment[row] == step)
      assert at[-1] - at[0] + 1 == len(at)
