"""From an experiment to the parts that run it: the one place they meet."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from rlx import ahead, experiment, learner, policy, prompts, rollouts, sharding
from rlx import tokenizer as tokenizers
from rlx.envs import protocol
from rlx.models import config as model_config
from rlx.models import policy as model_policy
from rlx.recipes import recipe as recipes
from rlx.rollout import engine, sampling
from rlx.rollout import plan as plans

GREEDY = sampling.Sampling(temperature=0.0)


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
    gather: `((params, evidence), prompt ids, indices, version, memory) ->
      (Played, memory)`: a batch to train on, as the recipe's plan collects it.
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
  collector: Callable[..., rollouts.Collect]
  gather: rollouts.Gather
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
  model = model_policy.make_policy(decoder, constrain, mesh)
  value = None
  if config.value != "none":
    value = model_policy.make_value(
      decoder,
      own_network=config.value == "own",
      constrain=constrain,
      mesh=mesh,
    )
  shape = rollouts.shape_of(config)
  size = rollouts.size_of(config, recipe, tokenizer)
  each = size.rows // shape.num_prompts
  sharding.check_divides(
    f"recipe {recipe.name} makes {each} rows of each of rollout.num_prompts="
    f"{shape.num_prompts}: rows of a batch",
    size.rows,
    mesh,
  )
  columns = rollouts.columns(config.task, recipe)
  trainer = learner.make_learner(
    model,
    recipe,
    config.optimizer,
    config.learner,
    mesh=mesh,
    temperature=config.rollout.sampling.temperature,
    rows=size.rows,
    length=size.length,
    turns=size.turns,
    **_shared(recipe, shape),
    value=value,
    memory=recipe.plan.memory(shape),
    extras=("length", "truncated", *columns, *recipe.plan_extras()),
  )
  collected = rollouts.collect(config, recipe, columns, model, tokenizer, mesh)
  return Parts(
    mesh=mesh,
    tokenizer=tokenizer,
    decoder=decoder,
    model=model,
    recipe=recipe,
    learner=trainer,
    collector=collected.collector,
    gather=collected.gather,
    num_test=collected.num_test,
    length=shape.length,
    load=load,
  )


def _shared(recipe: recipes.Recipe, shape: engine.Shape) -> dict[str, int]:
  """Returns what rows of a batch have in common, for `make_learner`."""
  if recipe.plan.size is not plans.whole:
    return {}  # Trees and the like, of any number of branches.
  return {
    "prompt": shape.prompt_tokens,
    "group": shape.num_samples,
    "max_chosen": shape.turns * shape.action_tokens,
  }


def check(config: experiment.TrainConfig, recipe: recipes.Recipe) -> None:
  """Refuses combinations of fields that cannot work, before anything compiles."""
  group = config.rollout.group_size
  if group < recipe.min_group:
    raise ValueError(
      f"rollout.group_size={group}: recipe {recipe.name} compares the members "
      f"of a group and needs {recipe.min_group} or more"
    )
  if recipe.plan.size is not plans.whole and (
    config.rollout.filter_groups or recipe.filter_groups
  ):
    raise ValueError(
      f"rollout.filter_groups=true: recipe {recipe.name} collects batches that "
      "are not made of groups of samples, so that no group can be left out"
    )
  if (
    config.rollout.on_device == "always"
    and "continue_from" in recipe.plan.needs
  ):
    raise ValueError(
      f"rollout.on_device=always: recipe {recipe.name} goes on from the middle "
      "of episodes, and those that are played on the device cannot be continued;"
      " it must be auto or never"
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


def complete(
  config: experiment.TrainConfig, recipe: recipes.Recipe
) -> experiment.TrainConfig:
  """Returns the experiment with what its recipe asks of the rollout."""
  rollout = config.rollout
  if recipe.filter_groups and not rollout.filter_groups:
    rollout = dataclasses.replace(rollout, filter_groups=True)
  return dataclasses.replace(config, rollout=rollout)


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
  if not pathlib.Path(source.path).is_dir():
    raise ValueError(
      f"model.path={source.path!r}: there is no such directory; set "
      "--model.path to a directory with config.json, safetensors and a "
      "tokeniser"
    )
  # Imported here: only those who bring a model need it.
  from rlx.models import hf

  decoder = dataclasses.replace(
    hf.load_config(source.path), dtype=source.dtype, remat=source.remat
  )
  places = sharding.shardings(model_policy.make_policy(decoder).axes, mesh)
  load = lambda _: hf.load_params(source.path, decoder, places)
  return decoder, tokenizers.load(source.path), load
