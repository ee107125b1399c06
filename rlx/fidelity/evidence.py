"""The columns that recipes read, as these worlds can give them.

What a world has is real: keys, outcomes, lengths, and continuations drawn from
its policy. What would take a verifier, an expert, gold evidence or a large
model is made from the exact values instead, and `SIMULATED` says how: a recipe
that reads it is measured with evidence better, or worse, than it would have.
"""

from collections.abc import Callable, Sequence

import numpy as np

from rlx.fidelity import context as contexts
from rlx.fidelity import fitted, trees
from rlx.recipes import recipe as recipes

# Standard deviation of what the critic's values are off by.
CRITIC_NOISE = 0.1


def _critic(context: contexts.Context) -> contexts.Column:
  noise = context.rng("value").normal(size=context.played.live.shape)
  return contexts.value(context) + CRITIC_NOISE * noise


def _value_before(context: contexts.Context) -> contexts.Column:
  """The mean outcome of `extra` continuations from the state acted on.

  Their number of successes is drawn at once: it is binomial. Without any, the
  mean outcome of the group's own visits to that state, which costs nothing.
  """
  if context.extra:
    chance = np.clip(contexts.value(context), 0.0, 1.0)
    drawn = context.rng("continuations").binomial(context.extra, chance)
    return drawn / context.extra
  played = context.played
  outcome = np.broadcast_to(played.outcome[..., None], played.live.shape)
  met = played.state[..., None] == np.arange(context.world.terminal.shape[1])
  met = met & played.live[..., None]
  visits = met.sum((2, 3))
  mean = (met * outcome[..., None]).sum((2, 3)) / np.maximum(visits, 1)
  b, p = np.ogrid[: mean.shape[0], : mean.shape[1]]
  return mean[b[..., None, None], p[..., None, None], played.state]


def _value_after(context: contexts.Context) -> contexts.Column:
  """The value before the next step; for the last one the outcome."""
  played = context.played
  before = _value_before(context)
  shift = lambda x: np.concatenate([x[..., 1:], np.zeros_like(x[..., :1])], -1)
  last = ~shift(played.live)
  return np.where(last, played.outcome[..., None], shift(before))


def _process(context: contexts.Context) -> contexts.Column:
  return (contexts.advantage(context) >= 0).astype(float)


def _matched(context: contexts.Context) -> contexts.Column:
  best = context.truth.actions.argmax(-1)
  return (
    contexts.looked_up(context, best, context.played.state)
    == context.played.action
  ).astype(float)


def _gain(context: contexts.Context) -> contexts.Column:
  """By how much a step raised the exact value, where it did."""
  world, played = context.world, context.played
  after = (
    np.concatenate(
      [np.zeros_like(context.truth.values[:, :1]), context.truth.values], 1
    )[:, :-1]
    + world.gain[:, None]
  )
  rise = contexts.looked_up(context, after, played.next_state) - contexts.value(
    context
  )
  return np.maximum(rise, 0.0)


def _redundancy(context: contexts.Context) -> contexts.Column:
  """Whether the state that a step led to had been met before."""
  state, following = context.played.state, context.played.next_state
  turn = np.arange(state.shape[-1])
  met = following[..., None] == state[..., None, :]
  return (met & (turn <= turn[:, None])).any(-1).astype(float)


def _grounded(context: contexts.Context) -> contexts.Column:
  return (context.played.next_state != context.played.state).astype(float)


def _marginal(context: contexts.Context) -> contexts.Column:
  """The outcome less that expected if the row's role had acted at random."""
  world, truth = context.world, context.truth
  prompts = np.arange(len(world.start))
  masked = []
  for role in range(2):
    value = np.zeros(world.terminal.shape)
    for turn in reversed(range(world.horizon)):
      policy = np.full_like(truth.policy, 1 / truth.policy.shape[-1])
      policy = policy if turn % 2 == role else truth.policy
      value = np.einsum(
        "psa,psan,pn->ps", policy, world.transition, world.gain + value
      )
      value = value * ~world.terminal
    masked.append(value[prompts, world.start])
  turn = np.arange(context.played.live.shape[-1])
  without = np.stack(masked)[turn % 2].T
  return context.played.outcome[..., None] - without[:, None, :]


def _length(context: contexts.Context) -> contexts.Column:
  played = context.played
  length = played.live.sum(-1, keepdims=True).astype(float)
  return np.broadcast_to(length, played.live.shape)


def _outcome(context: contexts.Context) -> contexts.Column:
  return np.broadcast_to(
    context.played.outcome[..., None], context.played.live.shape
  )


def _reference(context: contexts.Context, name: str) -> contexts.Column:
  """The outcome of one more trajectory of the prompt, on each of its rows."""
  world, shape = context.world, context.played.live.shape
  prompts = np.arange(len(world.start))
  chance = context.truth.values[prompts, world.horizon, world.start]
  drawn = context.rng(name).binomial(1, np.clip(chance, 0, 1), shape[:2])
  return np.broadcast_to(drawn[..., None, None].astype(float), shape)


def _objective(context: contexts.Context, name: str) -> contexts.Column:
  """Brevity where the name says so, else the outcome."""
  if name.partition("/")[2] not in ("brevity", "length", "format"):
    return _outcome(context)
  return 1.0 - _length(context) / context.world.horizon


def _consistency(context: contexts.Context) -> contexts.Column:
  """The share of the group's other outcomes that are the same."""
  played = context.played
  there = played.live.any(-1).astype(float)
  size = there.sum(-1, keepdims=True)
  won = (there * played.outcome).sum(-1, keepdims=True)
  same = np.where(played.outcome > 0.5, won, size - won) - 1.0
  share = np.maximum(same, 0.0) / np.maximum(size - 1.0, 1.0)
  return np.broadcast_to(share[..., None], played.live.shape)


def _noise(context: contexts.Context) -> contexts.Column:
  return context.rng("noise").normal(size=context.played.live.shape)


_COLUMNS: dict[str, Callable[[contexts.Context], contexts.Column]] = {
  "exact": contexts.advantage,
  "noise": _noise,
  "value": _critic,
  "value_before": _value_before,
  "value_after": _value_after,
  "consistency": _consistency,
  "process": _process,
  "matched": _matched,
  "information_gain": _gain,
  "sub_answer_gain": _gain,
  "redundancy": _redundancy,
  "grounded": _grounded,
  "tool": _grounded,
  "progress": fitted.progress,
  "implicit_reward": fitted.implicit_reward,
  "marginal": _marginal,
  "exploration": _noise,
  "length": _length,
  "tokens": lambda context: np.ones(context.played.live.shape),
  "bootstrap_value": lambda context: np.zeros(context.played.live.shape),
}
_FAMILIES: dict[str, Callable[[contexts.Context, str], contexts.Column]] = {
  "objective/": _objective,
  "weight/": lambda context, name: np.full(context.played.live.shape, 0.5),
  "reference_reward/": _reference,
}
_PREFIXES = tuple(_FAMILIES)
# Columns of the step table that every table here has.
KEYS = ("state", "action", "next_state", "role", "index", "trajectory")
KEYS += ("prompt", "parent", "depth", "tree", "reward", "outcome", "vote")
KEYS += ("continues", "weight")
CONTINUED = ("value_before", "value_after")

SIMULATED = {
  "value": f"the exact value with noise of standard deviation {CRITIC_NOISE}",
  "process": "1 where the exact advantage is not negative",
  "matched": "1 where the action has the highest exact value",
  "information_gain": "by how much the exact value rose",
  "sub_answer_gain": "by how much the exact value rose",
  "progress": "a ridge regression of outcomes on the group's (state, action)s",
  "implicit_reward": "a table fitted to the group's pairs of win and loss",
  "marginal": "against the exact value with the role acting at random",
  "exploration": "noise, as there are no hidden states",
  "node": "0",
  "role": "turns alternate between two roles",
  "objective/": "the outcome, but for brevity, length and format: brevity",
  "weight/": "equal",
}


def continues(made: recipes.Recipe) -> bool:
  """Whether the recipe reads values that continuations estimate."""
  return bool({*CONTINUED} & {*made.evidence})


def num_references(made: recipes.Recipe) -> int:
  """How many more trajectories of a prompt the recipe compares with."""
  return sum(x.startswith("reference_reward/") for x in made.evidence)


def missing(names: Sequence[str]) -> list[str]:
  """Those of the columns that these worlds cannot give."""
  known = {*_COLUMNS, *KEYS, *trees.FILLED}
  return [x for x in names if x not in known and not x.startswith(_PREFIXES)]


def simulated(names: Sequence[str]) -> dict[str, str]:
  """Those of the columns that are not what a run would have, and how made."""
  found = {}
  for name in names:
    key = name.partition("/")[0] + "/" if "/" in name else name
    if key in SIMULATED:
      found[name] = SIMULATED[key]
  return found


def filled(names: Sequence[str]) -> list[str]:
  """Those of the columns that every table here does not have anyway."""
  return [name for name in names if name not in KEYS]


def column(context: contexts.Context, name: str) -> contexts.Column:
  """The column of this name.

  Raises:
    ValueError: these worlds cannot give it.
  """
  if name in _COLUMNS:
    return _COLUMNS[name](context)
  for prefix, make in _FAMILIES.items():
    if name.startswith(prefix):
      return make(context, name)
  raise ValueError(f"no column {name!r} in these worlds")


def continued_steps(context: contexts.Context) -> float:
  """Turns that the continuations took, expected, of each prompt's group."""
  steps = contexts.looked_up(context, context.truth.steps, context.played.state)
  shape = context.played.live.shape
  total = (steps * context.played.live).sum() / (shape[0] * shape[1])
  return context.extra * float(total)


def mean_steps(context: contexts.Context) -> float:
  """Turns that a trajectory takes, expected, on average over prompts."""
  world = context.world
  prompts = np.arange(len(world.start))
  return float(context.truth.steps[prompts, world.horizon, world.start].mean())
