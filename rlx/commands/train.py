"""`rlx train`: run an experiment, or resume it."""

import dataclasses
import logging
import pathlib
import textwrap
from typing import Any

from rlx import cache, config, experiment
from rlx.commands import arguments

USAGE = """usage: rlx train NAME_OR_PATH [--workdir DIR] [--seed N] [--FIELD VALUE ...]

Runs an experiment to its end. The same command on the same directory resumes.

  NAME_OR_PATH   one of: {names};
                 or a .py file with get_config()
  --workdir DIR  where the run is kept; runs/NAME-seedN unless given
  --recipe NAME  another method on the same experiment, see `rlx recipes`; kept
                 in runs/NAME-RECIPE-seedN
  --quiet        print nothing but errors
  --FIELD VALUE  any field by its path, as --recipe.discount 0.9;
                 `rlx train NAME --help` lists them all

examples:
  rlx train quickstart
  rlx train quickstart --seed 1 --steps 50
  rlx train quickstart --recipe salt --recipe.clip.epsilon-high 0.28
  rlx train quickstart-grpo --workdir runs/without-step-credit"""

# Names that users of other libraries type; each is said in a line.
ALIASES = {
  "learning-rate": "optimizer.learning-rate",
  "lr": "optimizer.learning-rate",
  "num-generations": "rollout.group-size",
  "group-size": "rollout.group-size",
  "temperature": "rollout.sampling.temperature",
  "top-p": "rollout.sampling.top-p",
  "top-k": "rollout.sampling.top-k",
  "min-p": "rollout.sampling.min-p",
  "max-prompt-length": "rollout.max-prompt-length",
  "max-completion-length": "rollout.max-completion-length",
  "num-iterations": "learner.num-iterations",
  "mask-truncated-completions": "rollout.mask-truncated",
  "beta": "recipe.terms.kl-coef",
  "epsilon": "recipe.clip.epsilon-low",
  "epsilon-high": "recipe.clip.epsilon-high",
  "gamma": "recipe.discount",
  "loss-agg-mode": "recipe.terms.reduction",
  "max-steps": "steps",
}


def main(args: list[str]) -> int:
  """Returns 0, or 75 (try again) when a signal asked the run to stop."""
  if not args or args[0] in ("-h", "--help"):
    names = ", ".join(config.names())
    # Names are not broken at their dashes.
    lines = textwrap.wrap(names, 72, break_on_hyphens=False)
    print(USAGE.format(names=("\n" + " " * 17).join(lines)))
    return 0
  logging.basicConfig(level=logging.WARNING, format="%(message)s")
  name, *rest = args
  workdir, rest = arguments.take(rest, "--workdir")
  quiet, rest = arguments.take_flag(rest, "--quiet")
  recipe, rest = arguments.take(rest, "--recipe")
  experiment_of = config.load(name)
  if recipe is not None:
    experiment_of = _with_recipe(experiment_of, recipe)
  chosen = config.override(
    experiment_of,
    rest,
    ALIASES,
    prog=f"rlx train {name}",
    description=config.load_module(name).__doc__,
  )
  if not isinstance(chosen, experiment.TrainConfig):
    raise ValueError(
      f"config {name}: get_config() returned {type(chosen).__name__}, and "
      "`rlx train` runs a rlx.experiment.TrainConfig"
    )
  cache.use()
  from rlx import preemption, train
  from rlx.view import console

  path = pathlib.Path(workdir or f"runs/{chosen.name}-seed{chosen.seed}")
  try:
    train.train(chosen, path, console.Console(quiet=quiet))
  except preemption.Preempted as stopped:
    print(f"rlx train: {stopped}")
    return preemption.EXIT_CODE
  return 0


def _with_recipe(chosen: Any, name: str) -> Any:
  """Returns the experiment with another method, and named after both."""
  from rlx.commands import arguments_recipe

  recipe = arguments_recipe.instead(chosen.recipe, name)
  if recipe is chosen.recipe:
    return chosen
  method = type(recipe).function.__name__.replace("_", "-")
  return dataclasses.replace(
    chosen, recipe=recipe, name=f"{chosen.name}-{method}"
  )
