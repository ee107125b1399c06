"""From an experiment to the parts that run it: the one place they meet."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from rlx import ahead, experiment, learner, policy, prompts, sharding
from rlx import tokenizer as tokenizers
from rlx.envs import protocol
from rlx.models import config as model_config
from rlx.models import policy as model_policy
from rlx.recipes import recipe as recipes
from rlx.rollout import completions, engine, episodes, sampling

GREEDY = sampling.Sampling(temperature=0.0)

# (params, prompt ids, indices, version) -> Played
Collect = Callable[[Any, Sequence[int], Sequence[int], int], episodes.Played]


class Parts(NamedTuple):
  """What runs an experiment.

  Attributes:
    mesh: the devices.
    tokenizer: of the model.
    decoder: the model's shape.
    model: the policy's pure functions.
    recipe: the method.
    learner: the recipe bound to model, mesh and batch shape.
    collector: `(sampling, num_prompts, group_size) -> Collect`, makes the
      compiled rollout of one shape; `split` "train" or "test" comes first.
    num_test: held-out prompts or episodes.
    length: tokens of the longest sequence.
    load: `(key) -> policy parameters` on the mesh: read or made.
  """

  mesh: Mesh
  tokenizer: tokenizers.Tokenizer
  decoder: model_config.DecoderConfig
  model: policy.Policy
  recipe: recipes.Recipe
  learner: learner.Learner
  collector: Callable[..., Collect]
  num_test: int
  length: int
  load: Callable[[jax.Array], Any]


def assemble(config: experiment.TrainConfig) -> Parts:
  """Returns the parts of an experiment; nothing is compiled or trained yet.

  Raises:
    ValueError: fields that do not fit together, each named with its value and
      with what would be valid.
  """
  recipe = config.recipe.build()
  check(config, recipe)
  mesh = sharding.make_mesh(config.mesh)
  decoder, tokenizer, load = model_parts(
    config.model,
    ()
    if isinstance(config.model, experiment.Pretrained)
    else config.task.words(),
    mesh,
  )
  tokenizers.check_fits(tokenizer, decoder.vocab_size)
  constrain = sharding.constrainer(mesh)
  model = model_policy.make_policy(decoder, constrain)
  value = None
  if config.value != "none":
    value = model_policy.make_value(
      decoder, own_network=config.value == "own", constrain=constrain
    )
  shape = _shape(config, config.rollout.num_prompts, config.rollout.group_size)
  trainer = learner.make_learner(
    model,
    recipe,
    config.optimizer,
    config.learner,
    mesh=mesh,
    temperature=config.rollout.sampling.temperature,
    rows=shape.rows,
    length=shape.length,
    turns=shape.turns,
    value=value,
  )
  collector, num_test = _collectors(config, model, tokenizer, mesh)
  return Parts(
    mesh=mesh,
    tokenizer=tokenizer,
    decoder=decoder,
    model=model,
    recipe=recipe,
    learner=trainer,
    collector=collector,
    num_test=num_test,
    length=shape.length,
    load=load,
  )


def check(config: experiment.TrainConfig, recipe: recipes.Recipe) -> None:
  """Refuses combinations of fields that cannot work, before anything compiles."""
  group = config.rollout.group_size
  if group < recipe.min_group:
    raise ValueError(
      f"rollout.group_size={group}: recipe {recipe.name} compares the members "
      f"of a group and needs {recipe.min_group} or more"
    )
  if recipe.needs_value and config.value == "none":
    raise ValueError(
      f"value=none: recipe {recipe.name} has a value function; set --value "
      "trunk or --value own"
    )
  if config.rollout.sampling.temperature == 0:
    raise ValueError(
      "rollout.sampling.temperature=0: a greedy policy has no gradient; "
      "training needs a temperature above 0"
    )
  # Rows say themselves if they lack a completion.
  demonstrated = prompts.PromptTask | protocol.Demonstrated
  if config.warm_start and not isinstance(config.task, demonstrated):
    raise ValueError(
      "warm_start: this task has no demonstrations; use `rlx sft` on rows of "
      "your own instead, and train from its export"
    )


def _shape(
  config: experiment.TrainConfig, num_prompts: int, group_size: int
) -> engine.Shape:
  rollout = config.rollout
  turns = 1
  if not isinstance(config.task, prompts.PromptTask):
    turns = config.task.max_turns
  return engine.Shape(
    num_prompts=num_prompts,
    num_samples=group_size,
    prompt_tokens=rollout.max_prompt_length,
    turn_tokens=rollout.max_turn_length if turns > 1 else 0,
    action_tokens=rollout.max_completion_length,
    turns=turns,
  )


def model_parts(
  source: Any, words: Sequence[str], mesh: Mesh
) -> tuple[model_config.DecoderConfig, tokenizers.Tokenizer, Callable]:
  """Returns a model's shape, its tokeniser, and `load(key) -> parameters`.

  Args:
    source: a `DecoderConfig` for a model made from scratch, or a `Pretrained`.
    words: of the scratch tokeniser; empty for one that reads bytes.
  """
  if isinstance(source, experiment.Pretrained):
    return _pretrained(source, mesh)
  model = model_policy.make_policy(source)
  places = sharding.shardings(model.axes, mesh)
  tokenizer = (
    tokenizers.WordTokenizer(words) if words else tokenizers.ByteTokenizer()
  )
  load = jax.jit(
    model.init, out_shardings=places, compiler_options=ahead.once(mesh)
  )
  return source, tokenizer, load


def _pretrained(source: experiment.Pretrained, mesh: Mesh):
  # Imported here: only those who bring a model need it.
  from rlx.models import hf

  decoder = dataclasses.replace(
    hf.load_config(source.path), dtype=source.dtype, remat=source.remat
  )
  places = sharding.shardings(model_policy.make_policy(decoder).axes, mesh)
  load = lambda _: hf.load_params(source.path, decoder, places)
  return decoder, tokenizers.load(source.path), load


def _collectors(config, model, tokenizer, mesh):
  key = jax.random.key(config.seed)
  if isinstance(config.task, prompts.PromptTask):
    data = prompts.load(config.task, config.rollout, tokenizer, config.seed)
    num_test = len(data["test"])
    play = _complete(config.task, tokenizer, data, key)
  else:
    num_test = config.task.num_test()
    episodes.check(config.task, tokenizer, config.rollout.max_prompt_length)
    play = _play(config.task, tokenizer, key)

  def make(split, sampler, num_prompts, group_size) -> Collect:
    compiled = engine.make_engine(
      model,
      _shape(config, num_prompts, group_size),
      sampler=sampler,
      stop_ids=tokenizer.stop_ids,
      mesh=mesh,
    )
    return lambda params, ids, indices, version: play(
      compiled, params, split, ids, indices, version
    )

  return make, num_test


def _play(task: protocol.Task, tokenizer, key):
  def play(compiled, params, split, ids, indices, version):
    return episodes.play(
      compiled,
      params,
      key,
      tokenizer,
      lambda index: task.episode(index, split),
      prompt_ids=ids,
      indices=indices,
      version=version,
    )

  return play


def _complete(task, tokenizer, data, key):
  score = prompts.make_score(task)

  def play(compiled, params, split, ids, indices, version):
    rows, tokens = zip(*(data[split][i] for i in indices), strict=True)
    return completions.complete(
      compiled,
      params,
      key,
      tokenizer,
      score,
      prompt_ids=ids,
      prompts=tokens,
      rows=rows,
      version=version,
    )

  return play
