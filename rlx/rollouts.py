"""From an experiment to its batches: the task, the engine and the verbs."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jax.sharding import Mesh

from rlx import batch, experiment, policy, prompts, sharding, sources
from rlx import tokenizer as tokenizers
from rlx.envs import protocol
from rlx.recipes import filled as fills
from rlx.recipes import recipe as recipes
from rlx.rollout import (
  bind,
  engine,
  forks,
  lost,
  on_device,
  plan,
  played,
  rewritten,
  serve,
  verbs,
)

# (params, prompt ids, indices, version) -> Played
Collect = Callable[[Any, Sequence[int], Sequence[int], int], played.Played]
# ((params, evidence), prompt ids, indices, version, memory) -> (Played, memory)
Gather = Callable[..., tuple[played.Played, Any]]


class Rollouts(NamedTuple):
  """See `assemble.Parts`."""

  collector: Callable[..., Collect]
  gather: Gather
  num_test: int


def collect(
  config: experiment.TrainConfig,
  recipe: recipes.Recipe,
  columns: Sequence[str],
  model: policy.Policy,
  tokenizer: tokenizers.Tokenizer,
  mesh: Mesh,
) -> Rollouts:
  """Returns what draws batches, for training as the recipe's plan says.

  Args:
    columns: evidence that the task is to fill, see `columns`.
  """
  prompted = isinstance(config.task, prompts.PromptTask)
  for text in recipe.plan.texts if prompted else ():
    try:
      tokenizer.encode(text)
    except ValueError as error:
      raise ValueError(
        f"recipe {recipe.name} puts {text!r} into completions: {error}"
      ) from None
  made = sources.of_prompts if prompted else sources.of_episodes
  source = made(config, tokenizer, columns)

  settings = {"stop_ids": tokenizer.stop_ids, "mesh": mesh}
  bounded = settings | {"prefill_tokens": config.rollout.prefill_tokens}

  def compiled(shape, sampler=config.rollout.sampling, **more):
    return engine.make_engine(model, shape, sampler=sampler, **bounded, **more)

  in_segments = segmented(config, recipe, tokenizer)

  def going_on(shape, sampler=config.rollout.sampling):
    return compiled(rewritten.shape(shape), sampler) if in_segments else None

  # Episodes that nobody goes on from may be the device's.
  played_there = on_device.maker(
    config.rollout.on_device, config.task, tokenizer, model, bounded
  )
  served = _served(config, model, bounded)
  sampled = played_there or served or compiled

  def collector(split, sampler, num_prompts, group_size) -> Collect:
    shape = shape_of(config)._replace(
      num_prompts=num_prompts, num_samples=group_size
    )
    one, more = sampled(shape, sampler), going_on(shape, sampler)
    return lambda params, ids, indices, version: source.sample(
      one, params, split, ids, indices, version, (), False, more
    )

  shape = shape_of(config)
  memory = bind.memory(
    *(model, shape, mesh), config.rollout.page_size, config.rollout.kv_pages
  )
  forked = functools.partial(
    forks.make_engine,
    model,
    memory=memory,
    sampler=config.rollout.sampling,
    **settings,
  )
  continue_from = bind.continuing(
    shape, forked, source.go_on, devices=sharding.batch_devices(mesh)
  )
  keep = "continue_from" in recipe.plan.needs
  drawn = config.rollout.sampling
  whole = compiled(shape, memory=memory) if keep else sampled(shape, drawn)
  gather = _gather(
    *(whole, going_on(shape), continue_from, memory, keep, recipe, columns),
    *(source, tokenizer),
  )
  return Rollouts(collector, gather, source.num_test)


def _served(config, model, settings) -> Callable[..., Any] | None:
  """Returns what compiles continuous batching, where slots are asked for."""
  slots = config.rollout.slots
  if not slots:
    return None
  if not isinstance(config.task, prompts.PromptTask):
    raise ValueError(
      f"rollout.slots={slots}: slots are for completions of prompts; episodes "
      "advance together, so it must be 0"
    )
  sharding.check_divides("rollout.slots", slots, settings["mesh"])
  settings = settings | {"check_every": config.rollout.check_every}
  return lambda shape, sampler=config.rollout.sampling: serve.make_engine(
    model, shape, slots=slots, sampler=sampler, **settings
  )


def _gather(
  whole, segments, continue_from, kept, keep, recipe, columns, source, tokenizer
) -> Gather:
  shape = whole.shape

  def bound(params, evidence, version) -> verbs.Verbs:
    return verbs.Verbs(
      sample=lambda ids, indices: source.sample(
        whole, params, "train", ids, indices, version, columns, keep, segments
      ),
      start=lambda ids, indices: source.start(
        shape, "train", ids, indices, version
      ),
      continue_from=lambda *args, **settings: continue_from(
        params, version, *args, **settings
      ),
      score=source.score,
      tokenizer=tokenizer,
      shape=shape,
      version=version,
      evidence=evidence,
      under=lambda other: bound(other, evidence, version),
    )

  def gather(learnt, ids, indices, version, memory):
    params, evidence = learnt
    do = bound(params, evidence, version)
    found, memory = recipe.plan.collect(do, ids, indices, memory)
    kept.forget()
    if not found.record.turns.any():
      raise lost.AllLost(
        f"all {len(found.stop)} rows of a batch failed; what their "
        "environments raised is above"
      )
    return found, memory

  return gather


def shape_of(config: experiment.TrainConfig) -> engine.Shape:
  """Returns the static sizes of a batch of samples."""
  rollout = config.rollout
  turns = 1
  if not isinstance(config.task, prompts.PromptTask):
    turns = config.task.max_turns
  return engine.Shape(
    num_prompts=rollout.num_prompts,
    num_samples=rollout.group_size,
    prompt_tokens=rollout.max_prompt_length,
    turn_tokens=rollout.max_turn_length if turns > 1 else 0,
    action_tokens=rollout.max_completion_length,
    turns=turns,
  )


def segmented(
  config: experiment.TrainConfig,
  recipe: recipes.Recipe,
  tokenizer: tokenizers.Tokenizer,
) -> bool:
  """Returns whether an episode may be several sequences, see `rewritten`.

  Raises:
    ValueError: the recipe's plan does more with episodes than to play them.
  """
  if (
    config.rollout.rewriting_templates == "error"
    or shape_of(config).turns == 1
    or not rewritten.rewrites(tokenizer)
  ):
    return False
  if recipe.plan.size is not plan.whole or recipe.plan.needs != ("sample",):
    raise ValueError(
      f"rollout.rewriting_templates=segment: recipe {recipe.name} does more with "
      "episodes than to sample them, and needs each to be one sequence; pass a "
      "chat template that only appends"
    )
  return True


def size_of(
  config: experiment.TrainConfig,
  recipe: recipes.Recipe,
  tokenizer: tokenizers.Tokenizer,
) -> plan.Size:
  """Returns the static sizes of the batch that is learnt from."""
  if segmented(config, recipe, tokenizer):
    return rewritten.size(shape_of(config))
  return recipe.plan.size(shape_of(config))


def columns(task: Any, recipe: recipes.Recipe) -> tuple[str, ...]:
  """Returns the evidence that the recipe leaves to the task.

  A field of `Steps` is left to it only where the task says that it fills it, as
  "role" of several agents.

  Raises:
    ValueError: the task does not fill it, or is of another kind than the
      recipe's plan is for, or its episodes lack what that does with them.
  """
  fields = {f.name for f in dataclasses.fields(batch.Steps)}
  filled = tuple(getattr(task, "evidence", ()))

  def asks(name: str, who: str) -> bool:
    if name in fields:
      return name in filled and who not in (fills.PLAN, fills.LEARNT)
    return who == fills.TASK

  asked = tuple(x for x, who in fills.by(recipe).items() if asks(x, who))
  kind = "prompts" if isinstance(task, prompts.PromptTask) else "episodes"
  if recipe.plan.tasks not in ("any", kind):
    raise ValueError(
      f"recipe {recipe.name} needs a task of {recipe.plan.tasks}, and the task "
      f"is one of {kind}"
    )
  if kind == "episodes":
    _check_episodes(task, recipe, asked, filled)
  # Reward functions say what they fill when they are called.
  return asked


def _check_episodes(task, recipe, asked, filled) -> None:
  name = type(task).__name__
  missing = [x for x in asked if x not in filled]
  if missing:
    raise ValueError(
      f"recipe {recipe.name} reads {', '.join(map(repr, missing))} of each step,"
      f" which the task {name} does not fill; it fills "
      f"{', '.join(map(repr, filled)) or 'nothing'}"
    )
  wanted = list(recipe.plan.asks)
  if "continue_from" in recipe.plan.needs:
    wanted.append(protocol.Restorable)
  if not wanted:
    return
  episode = task.episode(0, "train")
  for protocol_ in wanted:
    if not isinstance(episode, protocol_):
      methods = [f"{x}()" for x in vars(protocol_) if not x.startswith("_")]
      raise ValueError(
        f"recipe {recipe.name} needs episodes that have {', '.join(methods)}, "
        f"and those of {name} have not"
      )
