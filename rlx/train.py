"""One run from start to end: warm start, evaluation, reinforcement, evaluation.

Everything that touches the disk or the terminal is here and in what it calls;
`loop` and `learner` know neither.
"""

import contextlib
import pathlib
import time
from typing import Any

import jax
import numpy as np

from rlx import (
  assemble,
  checkpoint,
  demonstrations,
  evaluate,
  experiment,
  loop,
  metrics,
  nonfinite,
  preemption,
  report,
  rundir,
  train_state,
)
from rlx import config as configs
from rlx.view import console as consoles
from rlx.view import episode

# Fields that a resumed run may change.
MAY_CHANGE = ("steps", "checkpoint", "log", "eval.every", "mesh")


class _Run:
  """The effects of one run: what is written and shown as it goes."""

  def __init__(self, config, parts, run, checkpoints, stop, console):
    self.config = config
    self.parts = parts
    self.run = run
    self.checkpoints = checkpoints
    self.stop = stop
    self.console = console
    self.evaluator = evaluate.Evaluator(config, parts)
    self.began = time.perf_counter()
    self.extra: dict[str, Any] = {}
    self.reference: Any = None
    self.writer: metrics.Writer | None = None
    self.phase: consoles.Phase | None = None
    self.last: loop.Done | None = None

  # Beginning.

  def start(self) -> train_state.TrainState:
    """Returns the state to go on from: restored, or made and warmed up."""
    key = jax.random.key(self.config.seed)
    if self.checkpoints.steps():
      return self._restore(key)
    policy = self.parts.load(jax.random.fold_in(key, 0))
    warm = self.config.warm_start
    if warm and warm.steps:
      policy = self._warm(policy)
    if self.parts.recipe.needs_reference:
      self.reference = jax.tree.map(lambda x: x.copy(), policy)
    state = self.parts.learner.init(key, policy)
    self._open(None)
    before = self._evaluate(state.params["policy"])
    self.extra = {
      "before": before["sampled"]._asdict(),
      "before_greedy": _asdict(before.get("greedy")),
    }
    self.save(state)
    return state

  def _restore(self, key) -> train_state.TrainState:
    shapes = jax.eval_shape(self.parts.learner.init, key)
    abstract = jax.tree.map(
      lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
      shapes,
      self.parts.learner.placements,
    )
    wanted = {"state": abstract}
    if self.parts.recipe.needs_reference:
      wanted["reference"] = abstract.params["policy"]
    found = self.checkpoints.restore(None, wanted)
    for damaged in found.skipped:
      self.console.say(f"[yellow]passed over a damaged checkpoint: {damaged}")
    self.extra = found.extra
    self.reference = found.state.get("reference")
    self.run.rewind(found.step)
    self._open(found.step)
    self.console.say(f"resumed {self.run.path} after step {found.step}")
    return found.state["state"]

  def _open(self, step: int | None) -> None:
    self.writer = metrics.Writer(
      self.run.path,
      resume_from=step,
      wandb=self.config.log.wandb_project or "",
      config=self.run.config,
    )

  def _warm(self, policy):
    total = self.config.warm_start.steps
    with self.console.phase("warm start", total) as phase:
      updates = demonstrations.imitate(self.config, self.parts, policy)
      for step, latest, shown in updates:
        policy = latest
        phase.step(step, shown)
        if self.stop.requested:
          raise preemption.Preempted(
            "stopped in the warm start; nothing is saved yet, and the same "
            "command starts it again"
          )
    return policy

  # Each step.

  def finish(self, done: loop.Done, state: train_state.TrainState) -> bool:
    """Writes a step down; returns whether the run was asked to stop."""
    config, step = self.config, done.step
    self.last = done
    last = step == config.steps
    every = config.eval.every
    numbers = dict(done.metrics)
    if every and step % every == 0 and not last:
      for name, found in self._evaluate(state.params["policy"]).items():
        prefix = "eval" if name == "sampled" else f"eval/{name}"
        numbers[f"{prefix}/success"] = found.success
        numbers[f"{prefix}/reward"] = found.reward
        if name == "sampled":
          self.extra["best"] = max(self.extra.get("best", 0.0), found.success)
    assert self.writer is not None
    self.writer.write(step, numbers)
    if config.log.samples_every and (
      step % config.log.samples_every == 0 or last or step == 1
    ):
      self._samples(done)
    if self.phase is not None:
      self.phase.step(step, _headline(numbers))
    stopping = self.stop.requested
    if step % config.checkpoint.every == 0 or last or stopping:
      self.save(state)
    return stopping

  def _samples(self, done: loop.Done) -> None:
    advantages = np.asarray(done.batch.advantages)
    rows = range(min(self.config.log.num_samples, len(done.played.stop)))
    self.run.write_samples(
      done.step,
      [
        episode.as_json(done.played, advantages, self.parts.tokenizer, row)
        for row in rows
      ],
    )

  def not_finite(self, done: loop.Done, state: train_state.TrainState) -> None:
    path = nonfinite.dump(self.run.path, done, state)
    self.console.say(
      f"[red]step {done.step}: the gradient was not finite; the update was "
      f"skipped, and what it takes to see why is in {path}"
    )

  def save(self, state: train_state.TrainState) -> None:
    extra = {**self.extra, "wall_s": self.wall()}
    tree = {"state": state}
    if self.reference is not None:
      tree["reference"] = self.reference
    self.checkpoints.save(int(state.step), tree, extra)

  def wall(self) -> float:
    """Seconds this run has taken, those before a resume included."""
    before = self.extra.get("wall_s", 0.0)
    return before + time.perf_counter() - self.began

  # The end.

  def close(self) -> None:
    if self.writer is not None:
      self.writer.close()

  def _evaluate(self, policy) -> dict[str, evaluate.Evaluation]:
    found = {"sampled": self.evaluator(policy)}
    if self.config.eval.greedy:
      found["greedy"] = self.evaluator(policy, greedy=True)
    return found

  def summarise(self, state: train_state.TrainState) -> dict[str, Any]:
    """Evaluates, writes summary.json and returns it."""
    after = self._evaluate(state.params["policy"])
    before = self.extra["before"]
    found = after["sampled"]
    summary = {
      "name": self.config.name,
      "recipe": self.parts.recipe.name,
      "seed": self.config.seed,
      "steps": int(state.step),
      "eval/success_before": before["success"],
      "eval/success_before_interval": [before["low"], before["high"]],
      "eval/success": found.success,
      "eval/success_interval": [found.low, found.high],
      "eval/reward_before": before["reward"],
      "eval/reward": found.reward,
      "eval/n": found.n,
    }
    if "greedy" in after:
      greedy = self.extra["before_greedy"]
      summary["eval/greedy/success_before"] = greedy["success"]
      summary["eval/greedy/success"] = after["greedy"].success
    summary["wall_s"] = round(self.wall(), 1)
    self.run.write_summary(summary)
    report.results(self.console, self.extra, after)
    return summary


def train(
  config: experiment.TrainConfig,
  workdir: pathlib.Path,
  console: consoles.Console,
) -> dict[str, Any]:
  """Runs an experiment to its end and returns its summary.

  A run directory that this experiment has written before is resumed from its
  last whole checkpoint, with the same result as if it had never stopped.

  Raises:
    ValueError: the experiment cannot run, or the directory is not its own.
    preemption.Preempted: asked to stop by a signal; the run is saved.
    loop.NotFinite: too many updates in a row had a gradient that is not finite.
  """
  parts = assemble.assemble(config)
  asked = configs.to_json(config)
  config = assemble.complete(config, parts.recipe)
  opened = rundir.open_run(workdir, asked, may_change=MAY_CHANGE)
  with (
    opened as run,
    checkpoint.Checkpointer(
      run.checkpoints, keep=config.checkpoint.keep
    ) as checkpoints,
    preemption.Preemption() as stop,
    contextlib.ExitStack() as opened_files,
  ):
    this = _Run(config, parts, run, checkpoints, stop, console)
    opened_files.callback(this.close)
    report.opening(console, config, parts, run.path)
    state = this.start()
    name = parts.recipe.name
    with console.phase(name, config.steps, int(state.step)) as this.phase:
      try:
        state = loop.run(
          config,
          parts.learner,
          parts.gather,
          state,
          this.reference,
          finish=this.finish,
          not_finite=this.not_finite,
        )
      except loop.NotFinite as error:
        checkpoints.wait()
        raise loop.NotFinite(
          f"{error}; what it takes to see why is in {run.path / 'nonfinite'}, "
          f"and the last checkpoint is that of step {checkpoints.latest()}"
        ) from None
    checkpoints.wait()
    if int(state.step) < config.steps:
      raise preemption.Preempted(
        f"saved after step {int(state.step)}; run the same command to resume"
      )
    summary = this.summarise(state)
    if this.last is not None:
      report.episode(console, this.last, config, parts.tokenizer)
    report.closing(console, run.path, config)
    return summary


def _asdict(found: evaluate.Evaluation | None) -> dict[str, Any] | None:
  return None if found is None else found._asdict()


def _headline(numbers: dict[str, float]) -> dict[str, float]:
  names = ("reward", "success", "entropy", "kl")
  shown = {name: numbers[name] for name in names if name in numbers}
  shown["steps"] = numbers["step/num_steps"]
  # What there was nothing of, as the entropy where nothing was learnt from.
  return {name: x for name, x in shown.items() if not np.isnan(x)}
