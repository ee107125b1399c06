"""What is true of a process under a policy, with nothing sampled."""

import dataclasses
from collections.abc import Hashable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from rlx.ledger import episodes

# Logits of the policies that gradients are taken at. In the even one all
# choices are equally likely, which hides what depends on the probabilities.
LOGITS = {
  "even": np.zeros((episodes.DECISIONS, episodes.CHOICES)),
  "tilted": np.array(
    [
      [0.7, -0.5, 0.1],
      [-0.9, 0.3, 0.0],
      [0.2, -0.6, 0.0],
      [0.4, 0.9, 0.0],
      [0.0, 0.0, 0.0],
      [0.0, 0.0, 0.0],
    ]
  ),
}


@dataclasses.dataclass(frozen=True)
class Truth:
  """A process under one policy.

  Attributes:
    listed: all its episodes.
    policy: name of the policy, in `LOGITS`.
    probability: [N], of each episode given its prompt.
    log_probs: [N L], of each token; 0 in padding.
    entropy: [N L], of what the token was drawn from; 0 in padding.
    score: [N L D A], gradient of each token's log-probability.
    entropy_score: [N L D A], gradient of the entropy.
    before, after: [N T], expected outcome of the episode when a step is about
      to be taken, and when it has been and what followed is known.
    to_go: [N L], expected rest of the rewards before each token.
    gradient: [D A], of the expected outcome, prompts being equally likely.
  """

  listed: episodes.Listed
  policy: str
  probability: np.ndarray
  log_probs: np.ndarray
  entropy: np.ndarray
  score: np.ndarray
  entropy_score: np.ndarray
  before: np.ndarray
  after: np.ndarray
  to_go: np.ndarray
  gradient: np.ndarray


def truth(listed: episodes.Listed, policy: str) -> Truth:
  """Returns all there is to know; to be called where float64 is enabled."""
  theta = LOGITS[policy]
  table = _table(listed, theta)
  live = listed.turn >= 0
  each = table[listed.decision]
  chosen = np.take_along_axis(each, listed.choice[..., None], -1)[..., 0]
  log_probs = np.where(live, chosen, 0.0)
  probability = listed.chance * np.exp(log_probs.sum(1))
  p = np.exp(each)
  surprise = np.where(p > 0, -each, 0.0)
  entropy = np.where(live, (p * surprise).sum(-1), 0.0)
  own = np.eye(episodes.CHOICES)[listed.choice] - p
  of_entropy = p * (surprise - entropy[..., None])
  before, after, to_go = _values(listed, probability)
  row = np.eye(episodes.DECISIONS)[listed.decision] * live[..., None]
  return Truth(
    listed=listed,
    policy=policy,
    probability=probability,
    log_probs=log_probs,
    entropy=entropy,
    score=row[..., None] * own[..., None, :],
    entropy_score=row[..., None] * of_entropy[..., None, :],
    before=before,
    after=after,
    to_go=to_go,
    gradient=np.asarray(_gradient(listed, theta)),
  )


def _table(listed: episodes.Listed, theta):
  """Log-probabilities [D A]; -inf where there is no such choice."""
  there = np.arange(episodes.CHOICES) < listed.choices[:, None]
  e = np.where(there, np.exp(theta), 0.0)
  with np.errstate(divide="ignore"):
    return np.log(e / e.sum(-1, keepdims=True))


# All episodes of any process have this number of rows, for one compilation.
_MOST = 16


def _gradient(listed: episodes.Listed, theta):
  """The gradient by differentiating the sum over all episodes."""
  pad = lambda x: np.pad(x, [(0, _MOST - len(x)), *[(0, 0)] * (x.ndim - 1)])
  worth = listed.chance * listed.outcome / len(listed.mdp.starts)
  there = np.arange(episodes.CHOICES) < listed.choices[:, None]
  return _differentiate(
    jnp.asarray(theta),
    there,
    *map(pad, (worth, listed.decision, listed.choice, listed.turn >= 0)),
  )


def _expected_outcome(theta, there, worth, decision, choice, live) -> Array:
  log_probs = jax.nn.log_softmax(jnp.where(there, theta, -jnp.inf))
  chosen = jnp.where(live, log_probs[decision, choice], 0.0)
  return jnp.sum(worth * jnp.exp(chosen.sum(1)))


_differentiate = jax.jit(jax.grad(_expected_outcome))


def _values(
  listed: episodes.Listed, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Conditional expectations, from the episodes that begin in the same way."""
  mass: dict[Hashable, np.ndarray] = {}
  keys = [_beginnings(episode) for episode in listed.episodes]
  for n, (turns, tokens) in enumerate(keys):
    worth = probability[n] * np.array([listed.outcome[n], 1.0])
    for key in {*turns, *tokens}:
      mass[key] = mass.get(key, 0.0) + worth
  expected = {key: total / count for key, (total, count) in mass.items()}
  before, after = np.zeros_like(listed.reward), np.zeros_like(listed.reward)
  to_go = np.zeros(listed.turn.shape)
  for n, (turns, tokens) in enumerate(keys):
    for t in range(len(turns) - 1):
      before[n, t], after[n, t] = expected[turns[t]], expected[turns[t + 1]]
    for at, key in enumerate(tokens):
      paid = listed.reward[n, : listed.turn[n, at]].sum()
      to_go[n, at] = expected[key] - paid
  return before, after, to_go


def _beginnings(episode: episodes.Episode):
  """A key before each step and at the end, and one before each token."""
  turns: list[Hashable] = [(episode.prompt,)]
  tokens: list[Hashable] = []
  for step in episode.steps:
    words = step.action.split()
    tokens += [(turns[-1], *words[:i]) for i in range(len(words))]
    turns.append((turns[-1], step))
  return turns, tokens
