"""What providers are shown in these tests: ragged conversations, and junk."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from rlx import credit
from rlx.evidence import provider
from tests import tiny

MODEL = tiny.policy()
PARAMS = tiny.params(MODEL)


def context(tokens: int = 0, temperature: float = 1.0) -> provider.Context:
  """With so many tokens in a chunk; 0 for all at once."""
  return provider.Context(MODEL, temperature, microbatch_tokens=tokens)


def seen(
  seed: int = 0, extras: Mapping[str, np.ndarray] | None = None
) -> provider.Seen:
  """Two prompts of four conversations, one of which was dropped."""
  log = tiny.batch(rows=8, length=24, turns=3, seed=seed)
  log.drop(3)
  table = log.steps()
  given = dict(extras or {})
  columns = {name: jnp.asarray(x, jnp.float32) for name, x in given.items()}
  table = dataclasses.replace(table, extras=table.extras | columns)
  rollout = log.rollout()
  return provider.Seen(PARAMS, rollout, table, rollout.raw_log_probs)


def outcomes(shown: provider.Seen, values) -> provider.Seen:
  """The same with the outcome of each trajectory replaced."""
  rows = jnp.asarray(values, jnp.float32)[shown.steps.trajectory]
  outcome = jnp.where(shown.steps.weight > 0, rows, 0.0)
  steps = dataclasses.replace(shown.steps, outcome=outcome)
  return shown._replace(steps=steps)


def with_junk(shown: provider.Seen) -> provider.Seen:
  """The same with something else in all that must not be read."""
  steps, rollout = shown.steps, shown.rollout
  live = steps.weight > 0
  dead = lambda x: jnp.where(live, x, jnp.nan)
  names = ("reward", "outcome", "value", "continues", "vote")
  columns = {name: dead(getattr(steps, name)) for name in names}
  extras = {name: dead(x) for name, x in steps.extras.items()}
  steps = dataclasses.replace(steps, **columns, extras=extras)
  other = (rollout.tokens + 3) % tiny.VOCAB
  tokens = jnp.where(rollout.valid, rollout.tokens, other)
  unread = lambda x: jnp.where(rollout.mask, x, jnp.nan)
  rollout = dataclasses.replace(
    rollout,
    tokens=tokens,
    log_probs=unread(rollout.log_probs),
    raw_log_probs=unread(rollout.raw_log_probs),
  )
  return provider.Seen(
    shown.params, rollout, steps, unread(shown.old_log_probs)
  )


def empty(shown: provider.Seen) -> provider.Seen:
  """The same tokens in a table that is nothing but padding."""
  nothing = jnp.zeros_like(shown.steps.weight)
  return shown._replace(steps=dataclasses.replace(shown.steps, weight=nothing))


# One prompt, four trajectories of 3, 2, 4 and 2 steps: the worked examples.
STEPS = credit.step_table(
  trajectory=[0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3],
  reward=[0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0],
)
