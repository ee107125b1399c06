"""What every recipe keeps, on groups that are degenerate in every way."""

import dataclasses
import functools
import inspect
import json
import re
import typing

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import batch, credit, objective, recipes

ROWS, LENGTH = 9, 6
MASK = np.tile([0, 1, 1, 0, 1, 0], (ROWS, 1)).astype(bool)
# Each row is a trajectory of two steps, with an observation between them.
SEGMENT = np.where(MASK, 2 * np.arange(ROWS)[:, None] + [0, 0, 0, 0, 1, 0], -1)
# Prompts: three ordinary samples, a lone one, two equal ones, two filtered out,
# and a lone one that is padding.
PROMPT = [0, 0, 0, 1, 2, 2, 3, 3, 4]
REWARD = [1.0, 0.0, 0.5, 1.0, 0.35, 0.35, 1.0, 0.0, 9.0]
LIVE = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0], bool)

# Evidence that is equal wherever the rewards are.
SCORES = ("process", "consistency", "marginal", "tool")
LEARNT = ("implicit_reward", "progress", "exploration")
OBJECTIVES = ("objective/main", "objective/auxiliary")
FOUND = ("information_gain", "redundancy", "sub_answer_gain")


def steps(live=LIVE) -> batch.Steps:
  return credit.step_table(
    trajectory=np.repeat(np.arange(ROWS), 2),
    prompt=np.repeat(PROMPT, 2),
    reward=np.stack([np.zeros(ROWS), REWARD], 1).reshape(-1),
    state=np.arange(2 * ROWS) % 2,
    # Who acts takes turns; the first actions are alike, the second ones differ.
    role=np.arange(2 * ROWS) % 2,
    action=np.arange(2 * ROWS) % 2 * np.arange(2 * ROWS),
    weight=np.repeat(live, 2),
    extras={
      "length": np.repeat(MASK.sum(1), 2),
      "reference_reward/0": np.full(2 * ROWS, 0.5),
      "bootstrap_value": np.zeros(2 * ROWS),
      **dict.fromkeys(SCORES + LEARNT + OBJECTIVES, np.repeat(REWARD, 2)),
      "weight/main": np.full(2 * ROWS, 0.7),
      "weight/auxiliary": np.full(2 * ROWS, 0.3),
      "grounded": np.arange(2 * ROWS) % 2,
      # Of what is continued from the middle.
      "value_before": np.tile([0.4, 0.7], ROWS),
      "value_after": np.stack([np.full(ROWS, 0.7), REWARD], 1).reshape(-1),
      "tokens": np.tile([2, 1], ROWS),
      **dict.fromkeys(FOUND, np.arange(2 * ROWS) % 2),
      "matched": np.ones(2 * ROWS),
    },
  )


def rollout(junk=0.0) -> batch.Rollout:
  mask = jnp.asarray(MASK)
  log_probs = jnp.where(mask, -1.0, junk)
  ints = jnp.zeros(MASK.shape, jnp.int32)
  return batch.Rollout(
    tokens=ints,
    valid=jnp.ones(MASK.shape, bool),
    mask=mask,
    log_probs=log_probs,
    raw_log_probs=log_probs,
    segment=jnp.asarray(SEGMENT, jnp.int32),
    version=ints,
  )


def assign(made, state, steps, junk=0.0):
  """Advantages and value targets per token, and the new credit state."""
  values = jnp.where(jnp.asarray(MASK), 0.3, junk)
  table, spread = steps, lambda x: credit.spread(x, rollout().segment)
  if made.level == "token":
    table = credit.token_table(
      rollout(junk),
      steps,
      values=values,
      ref_log_probs=jnp.where(jnp.asarray(MASK), -1.5, junk),
      kl_in_reward=made.kl_in_reward,
    )
    spread = lambda x: x.reshape(MASK.shape)
  advantages, state = credit.advantages(made.credit, state, table)
  assert advantages.shape == table.weight.shape
  targets = jnp.zeros_like(advantages)
  if made.value_targets is not None:
    own = made.value_targets
    targets, _ = credit.advantages(own, own.init(), table)
  return spread(advantages), spread(targets), state


@functools.cache
def assigned(method):
  """`assign` of a method without overrides, compiled."""
  made = method()
  state = made.credit.init()
  return jax.jit(lambda steps, junk: assign(made, state, steps, junk))


def loss(made, log_probs, advantages, targets):
  """Loss and metrics where the step is live, with all that could be needed."""
  mask = jnp.asarray(MASK & LIVE[:, None])
  old = jax.lax.stop_gradient(log_probs) + 0.1
  return made.objective.loss(
    objective.TokenInputs(
      log_probs=log_probs,
      entropy=-log_probs,
      advantages=advantages,
      mask=mask,
      weights=made.objective.weights(mask),
      segment=jnp.asarray(SEGMENT, jnp.int32),
      old_log_probs=old,
      sampler_log_probs=old,
      ref_log_probs=old,
      values=log_probs,
      old_values=old,
      returns=targets,
    )
  )


ids = [f.__name__ for f in recipes.ALL]
every = pytest.mark.parametrize("method", recipes.ALL, ids=ids)


@every
def test_credit_and_loss_are_finite_and_traced_once(method):
  made = method()

  def run(state, steps, log_probs):
    advantages, targets, state = assign(made, state, steps)
    value = lambda x: loss(made, x, advantages, targets)
    (total, found), grad = jax.value_and_grad(value, has_aux=True)(log_probs)
    return state, advantages, total, found, grad

  chex.clear_trace_counter()
  run = jax.jit(chex.assert_max_traces(run, n=1))
  state = made.credit.init()
  for live in (LIVE, np.zeros(ROWS, bool)):
    new, *out = run(state, steps(live), jnp.full(MASK.shape, -1.0))
    assert jax.tree.structure(new) == jax.tree.structure(state)
    for x in jax.tree.leaves(out):
      assert np.isfinite(x).all()
    advantages, state = np.asarray(out[0]), new
    assert not advantages[~live].any()
    assert not advantages[~MASK].any()
  # Nothing but the last pass: a table of padding teaches nothing.
  assert not advantages.any()


@every
def test_groups_without_a_peer_or_without_a_spread_get_no_credit(method):
  made = method()
  advantages, _, _ = assigned(method)(steps(), 0.0)
  if made.min_group > 1 and "state" not in made.evidence:
    # Whitened over tokens, a 0 is what rounding leaves of the batch's mean.
    atol = 1e-6 if made.level == "token" else 0.0
    np.testing.assert_allclose(advantages[3:6], 0, atol=atol)
  assert np.asarray(advantages)[:3].any()


@every
def test_what_stands_in_padding_is_inert(method):
  junk = steps()
  dead = junk.weight == 0
  fill = lambda x: jnp.where(dead, jnp.nan, x)
  names = ("reward", "outcome", "value", "continues", "vote")
  junk = dataclasses.replace(
    junk, **{name: fill(getattr(junk, name)) for name in names}
  )
  got, want = assigned(method)(junk, jnp.nan), assigned(method)(steps(), 0.0)
  jax.tree.map(np.testing.assert_array_equal, got, want)


@every
def test_a_recipe_can_be_set_from_the_command_line(method):
  hints = typing.get_type_hints(method)
  assert hints.pop("return") is recipes.Recipe
  for name, parameter in inspect.signature(method).parameters.items():
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    assert parameter.default is not inspect.Parameter.empty
    kinds = [hints[name]]
    if dataclasses.is_dataclass(hints[name]):
      kinds = list(typing.get_type_hints(hints[name]).values())
      hash(parameter.default)  # May stand as the default of a field.
    for kind in kinds:
      plain = typing.get_args(kind) or (kind,)
      literal = typing.get_origin(kind) is typing.Literal
      assert literal or set(plain) <= {int, float, bool, str, type(None)}


@every
def test_a_recipe_documents_itself(method):
  made = method()
  assert made.name == method.__name__
  documentation = inspect.getdoc(method) or ""
  assert "Source: " in documentation
  assert f"[{made.confidence}]" in documentation
  ids = re.findall(r"arXiv:[\d.]*\d", made.source)
  assert all(x in documentation for x in ids)
  for name in inspect.signature(method).parameters:
    assert f"  {name}: " in documentation
  told = recipes.describe(made)
  summary = json.loads(json.dumps(recipes.summary(made)))
  assert summary["formula"] in told
  for departure in summary["departures"]:
    assert departure in told
    # What is ours is said where the method is explained.
    assert "inferred" not in departure or "inferred" in documentation.lower()
  # Signature, checks, composition and what is said of it.
  source = inspect.getsource(method).splitlines()
  assert len(source) - len(documentation.splitlines()) < 65


@every
def test_no_recipe_needs_a_reference_unless_it_is_asked_to(method):
  assert not method().needs_reference
  assert method(terms=objective.Terms(kl_coef=0.1)).needs_reference
  assert method().needs_value == method().objective.needs_value


@pytest.mark.parametrize("method", [recipes.ppo, recipes.reinforce_plus_plus])
def test_a_penalty_in_the_reward_needs_a_reference(method):
  assert method(kl_in_reward=0.1).needs_reference
