"""What a run says at its beginning and at its end."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rlx import assemble, evaluate, experiment, loop, rollouts
from rlx import tokenizer as tokenizers
from rlx.view import console as consoles
from rlx.view import episode as episodes


def opening(
  console: consoles.Console,
  config: experiment.TrainConfig,
  parts: assemble.Parts,
  path: pathlib.Path,
) -> None:
  """Says what is about to run: the model, the method, the batch arithmetic."""
  shapes = jax.eval_shape(parts.model.init, jax.random.key(0))
  size = sum(x.size for x in jax.tree.leaves(shapes))
  rollout, learner = config.rollout, config.learner
  rows = rollout.num_prompts * rollout.group_size
  updates = learner.num_iterations * learner.num_minibatches
  devices = parts.mesh.devices.size
  console.say(f"[bold]{config.name}[/bold]  seed {config.seed}  ->  {path}")
  console.say(
    f"  {': '.join(filter(None, (parts.recipe.name, parts.recipe.formula)))}\n"
    f"  {number(size)} parameters, {parts.decoder.num_layers} layers; "
    f"{devices} {jax.devices()[0].platform} device{'s' * (devices > 1)}\n"
    f"  a step: {rollout.num_prompts} prompts × {rollout.group_size} samples "
    f"= {rows} sequences of at most {parts.length} tokens, "
    f"{updates} update{'s' * (updates > 1)}"
  )
  if "continue_from" in parts.recipe.plan.needs:
    count = parts.recipe.plan.beside
    most = ", which may take many times as long"
    if count:
      most = f", up to {count(rollouts.shape_of(config))} times a step"
    console.say(
      f"  beside these the plan plays on from places of its own{most}"
    )


def results(
  console: consoles.Console,
  extra: Mapping[str, Any],
  after: Mapping[str, evaluate.Evaluation],
) -> None:
  """Prints the held-out success rate before and after, with intervals."""
  rows = []
  for name, title in (("sampled", "sampled"), ("greedy", "greedy")):
    found = after.get(name)
    before = extra["before" if name == "sampled" else "before_greedy"]
    if found is None or before is None:
      continue
    was = evaluate.Evaluation(**before)
    rows.append([title, _rate(was), _rate(found), str(found.n)])
  console.table(
    "success on what was held out (95 % interval)",
    ["actions", "before", "after", "n"],
    rows,
  )


def _rate(found: evaluate.Evaluation) -> str:
  return f"{found.success:.3f} ({found.low:.3f}–{found.high:.3f})"


def episode(
  console: consoles.Console,
  done: loop.Done,
  config: experiment.TrainConfig,
  tokenizer: tokenizers.Tokenizer,
) -> None:
  """Prints one episode of the last batch, with the credit of each step.

  The one whose steps got the most unequal credit, of those that fit a screen.
  """
  advantages = np.asarray(done.batch.advantages)
  log = done.played.record
  fits = (log.turns > 0) & (log.turns <= 8)
  spread = [
    np.ptp(log.along(advantages, row)[mask]) if fit and mask.any() else -1.0
    for row, (mask, fit) in enumerate(zip(log.mask, fits, strict=True))
  ]
  row = int(np.argmax(spread))
  if spread[row] < 0:
    return
  episodes.show(
    console.rich,
    done.played,
    tokenizer,
    row,
    title=f"an episode of step {done.step}, and the credit of its steps",
    advantages=advantages,
    width=getattr(config.task, "size", 0),
  )


def closing(
  console: consoles.Console, path: pathlib.Path, config: experiment.TrainConfig
) -> None:
  """Says where everything is, and what to do next."""
  console.say(
    f"  metrics     {path / 'metrics.jsonl'}, tensorboard --logdir {path}\n"
    f"  samples     {path / 'samples'}\n"
    f"  checkpoint  {path / 'checkpoints'}\n"
    f"  summary     {path / 'summary.json'}"
  )
  other = {"quickstart": "quickstart-grpo"}.get(config.name)
  console.say("next:")
  if other:
    console.say(f"  rlx train {other}   the same without credit per step")
  console.say(
    f"  rlx sample {path}   watch it\n"
    f"  rlx eval {path} --samples 4   measure it again, with more samples\n"
    f"  rlx export {path} exported   a Hugging Face directory"
  )


def number(n: int) -> str:
  """Returns "124 k", "8.2 B"."""
  for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
    if n >= size:
      return f"{n / size:.3g} {unit}"
  return str(n)
