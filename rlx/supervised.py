"""A supervised run from rows on disk to a Hugging Face directory."""

import dataclasses
import pathlib
import shutil
import time
from typing import Any, Literal

import jax
import jax.numpy as jnp

from rlx import (
  assemble,
  checkpoint,
  experiment,
  exported,
  metrics,
  preemption,
  rundir,
  sft,
  sharding,
)
from rlx import config as configs
from rlx import optimizer as optimizers
from rlx import tokenizer as tokenizers
from rlx.data import sft as data_sft
from rlx.data import sources
from rlx.models import config as model_config
from rlx.models import hf_card
from rlx.models import policy as model_policy
from rlx.view import console as consoles

MAY_CHANGE = ("steps", "checkpoint", "mesh")


@dataclasses.dataclass(frozen=True)
class SftConfig:
  """Supervised fine-tuning on `messages` or `prompt`/`completion` rows."""

  rows: str
  """A JSON-lines file."""
  model: Any = model_config.DecoderConfig(
    vocab_size=262,
    embed_dim=128,
    num_layers=4,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    mlp_dim=512,
    init_std=0.05,
  )
  """A `Pretrained` (with --model DIR), or a small decoder that reads bytes."""
  seed: int = 0
  """Of the order of rows, and of a model made from scratch."""
  steps: int = 100
  """Updates."""
  batch_size: int = 16
  """Lines of an update."""
  length: int = 512
  """Tokens of a line."""
  pack: bool = True
  """Put several rows into a line, none of which sees another."""
  long_rows: Literal["error", "drop", "truncate"] = "error"
  """What happens to rows longer than a line."""
  microbatch_tokens: int = 8192
  """Tokens that go through the model at once."""
  optimizer: optimizers.OptimizerConfig = optimizers.OptimizerConfig(
    learning_rate=1e-5
  )
  """Its optimiser."""
  checkpoint: experiment.CheckpointConfig = experiment.CheckpointConfig()
  """When the run is saved."""
  mesh: sharding.MeshConfig = sharding.MeshConfig()
  """Devices along each axis."""


def run(
  config: SftConfig, workdir: pathlib.Path, console: consoles.Console
) -> dict[str, Any]:
  """Trains, or resumes, and returns the summary; the model is in workdir/hf.

  Raises:
    ValueError: rows without what is to be learnt, or too long; see `sft_batches`.
    preemption.Preempted: stopped by a signal; the run is saved.
  """
  began = time.perf_counter()
  mesh = sharding.make_mesh(config.mesh)
  sharding.check_divides("batch_size", config.batch_size, mesh)
  decoder, tokenizer, load = assemble.model_parts(config.model, (), mesh)
  tokenizers.check_fits(tokenizer, decoder.vocab_size)
  source = sources.JsonLines(config.rows)
  batches_from = lambda cursor: data_sft.sft_batches(
    source,
    tokenizer,
    batch_size=config.batch_size,
    length=config.length,
    seed=config.seed,
    cursor=cursor,
    pack=config.pack,
    long_rows=config.long_rows,
  )
  batches_from(0)  # Rows are checked before anything compiles.
  constrain = sharding.constrainer(mesh)
  model = model_policy.make_policy(decoder, constrain, mesh)
  optimizer = optimizers.make_optimizer(config.optimizer)
  trainer = sft.make_sft(
    model, optimizer, mesh=mesh, microbatch_tokens=config.microbatch_tokens
  )
  with (
    rundir.open_run(
      workdir, configs.to_json(config), may_change=MAY_CHANGE
    ) as opened,
    checkpoint.Checkpointer(
      opened.checkpoints, keep=config.checkpoint.keep
    ) as saved,
    preemption.Preemption() as stop,
  ):
    state, step, cursor = _start(config, trainer, load, saved)
    begun_at = step
    opened.rewind(step or None)
    last: dict[str, float] = {}
    with (
      metrics.Writer(opened.path, resume_from=step or None) as writer,
      console.phase("sft", config.steps, step) as phase,
    ):
      before, ends = None, False
      updates = sft.train(
        trainer,
        state["params"],
        state["opt_state"],
        batches_from(cursor),
        mesh=mesh,
      )
      while step < config.steps and not ends:
        params, opt_state, found, cursor = next(updates)
        step += 1
        if before is not None:
          last = metrics.fetch(before)
          writer.write(step - 1, last)
          phase.step(step, {"loss": last["loss"]})
        before = found
        ends = step == config.steps or stop.requested
        if ends or step % config.checkpoint.every == 0:
          last = metrics.fetch(found)
          writer.write(step, last)
          phase.step(step, {"loss": last["loss"]})
          before = None
          state = {"params": params, "opt_state": opt_state}
          saved.save(step, state, {"cursor": cursor})
    saved.wait()
    if step < config.steps:
      raise preemption.Preempted(
        f"saved after step {step}; run the same command to resume"
      )
    target = opened.path / "hf"
    if step > begun_at or not target.exists():
      shutil.rmtree(target, ignore_errors=True)
      exported.write_model(
        target,
        decoder,
        state["params"],
        tokenizer,
        dtype="float32",
        card=hf_card.Card(
          body=f"Supervised fine-tuning with rlx, {step} steps.", tags=("sft",)
        ),
        generation={},
      )
    summary = {
      "steps": step,
      "loss": last.get("loss"),
      "seed": config.seed,
      "wall_s": round(time.perf_counter() - began, 1),
    }
    opened.write_summary(summary)
  console.say(
    f"  model       {target}\n  metrics     {workdir / 'metrics.jsonl'}"
  )
  return summary


def _start(config, trainer, load, saved):
  """Returns the state to go on from, its step and the cursor of the rows."""
  key = jax.random.key(config.seed)
  if not saved.steps():
    params = load(key)
    return {"params": params, "opt_state": trainer.init(params)}, 0, 0
  params = load(key)
  state = {"params": params, "opt_state": trainer.init(params)}
  found = saved.restore(None, state)
  state = jax.tree.map(jnp.asarray, found.state)
  return state, found.step, found.extra["cursor"]
