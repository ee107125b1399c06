"""What a task's samples come from: its prompts, or its episodes."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from rlx import experiment, prompts
from rlx import tokenizer as tokenizers
from rlx.envs import protocol
from rlx.rollout import (
  bind,
  completions,
  device_program,
  episodes,
  on_device,
  played,
  pool,
  processes,
)
from rlx.rollout import config as rollout_config


class Source(NamedTuple):
  """What a kind of task is asked for; `engine` is one that was compiled.

  Attributes:
    sample: `(engine, params, split, ids, indices, version, evidence, keep,
      segments)`; the last is a second engine, for `rewritten`, or None.
    start: `(shape, split, ids, indices, version)`.
    go_on: `(engine, params, before, cuts, max_tokens, seed, version)`.
    score: `(played, rows, texts)`.
    num_test: held-out prompts or episodes.
  """

  sample: Callable[..., played.Played]
  start: Callable[..., played.Played]
  go_on: Callable[..., played.Played]
  score: Callable[..., Any]
  num_test: int


def of_prompts(
  config: experiment.TrainConfig,
  tokenizer: tokenizers.Tokenizer,
  columns: Sequence[str],
) -> Source:
  """Returns what completes prompts, and pays for completions."""
  key = jax.random.key(config.seed)
  data = prompts.load(config.task, config.rollout, tokenizer, config.seed)
  score = prompts.make_score(config.task)

  def drawn(split, indices):
    rows, tokens = zip(*(data[split][i] for i in indices), strict=True)
    return {"rows": rows, "prompts": tokens}

  def sample(
    made, params, split, ids, indices, version, evidence, keep, segments
  ):
    # A completion can always be continued, and has no turns.
    del keep, segments
    return completions.complete(
      *(made, params, key, tokenizer, score),
      prompt_ids=ids,
      **drawn(split, indices),
      version=version,
      evidence=evidence,
    )

  def start(shape, split, ids, indices, version):
    return completions.start(
      shape, prompt_ids=ids, **drawn(split, indices), version=version
    )

  def go_on(made, params, before, cuts, **settings):
    return completions.go_on(
      *(made, params, key, tokenizer, score, before, cuts),
      longest=config.rollout.max_completion_length,
      evidence=columns,
      **settings,
    )

  return Source(sample, start, go_on, bind.scorer(score), len(data["test"]))


def of_episodes(
  config: experiment.TrainConfig,
  tokenizer: tokenizers.Tokenizer,
  columns: Sequence[str],
) -> Source:
  """Returns what plays episodes of the task."""
  key = jax.random.key(config.seed)
  task: protocol.Task = config.task
  episodes.check(
    task,
    tokenizer,
    config.rollout.max_prompt_length,
    segmented=config.rollout.rewriting_templates == "segment",
  )
  calls = _calls(config.rollout)

  def sample(
    made, params, split, ids, indices, version, evidence, keep, segments
  ):
    if isinstance(made, device_program.Program):
      return on_device.play(
        *(made, params, key, tokenizer, split),
        prompt_ids=ids,
        indices=indices,
        version=version,
        evidence=evidence,
      )
    return episodes.play(
      *(made, params, key, tokenizer),
      functools.partial(protocol.opened, task, split),
      prompt_ids=ids,
      indices=indices,
      version=version,
      evidence=evidence,
      keep=keep,
      calls=calls,
      segments=segments,
    )

  def start(shape, split, ids, indices, version):
    return episodes.start(
      *(shape, tokenizer, functools.partial(protocol.opened, task, split)),
      prompt_ids=ids,
      indices=indices,
      version=version,
      calls=calls,
    )

  def go_on(made, params, before, cuts, max_tokens, **settings):
    del max_tokens  # A turn is never cut.
    return episodes.go_on(
      *(made, params, key, tokenizer, before, cuts),
      turns_left=lambda place: task.max_turns - place.turn,
      evidence=columns,
      calls=calls,
      **settings,
    )

  def score(before, rows, texts):
    raise ValueError(
      f"episodes of {type(task).__name__} are scored by being played, not as "
      "text: this recipe needs a task of prompts and reward functions"
    )

  return Source(sample, start, go_on, score, task.num_test())


def _calls(config: rollout_config.RolloutConfig) -> pool.Open:
  """Returns what opens the calls of a batch's environments."""
  workers, seconds = config.environment_workers, config.environment_seconds
  if config.environment_pool == "none":
    return pool.Inline
  if config.environment_pool == "threads":
    return functools.partial(pool.Threads, workers or 32, seconds)
  workers = workers or os.cpu_count() or 1
  held = processes.Processes(workers)
  return functools.partial(pool.Threads, workers, seconds, held.seat)
