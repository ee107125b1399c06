"""Second learners, as small as their worlds: a number for each (state, action).

Each is fitted to the group whose steps it then judges, and to nothing else. In
a training run they would also remember earlier batches.
"""

import numpy as np

from rlx.fidelity import context as contexts

RIDGE = 1.0
UPDATES, RATE, DECAY = 50, 0.5, 0.01


def progress(context: contexts.Context) -> np.ndarray:
  """Contributions that add up to the outcome, by ridge regression.

  minimise sum_i (sum_{t in i} c(s_t, a_t) - R_i)^2 + RIDGE |c|^2
  """
  visits = _visits(context)
  gram = visits @ visits.swapaxes(-1, -2)
  gram = gram + RIDGE * np.eye(gram.shape[-1])
  dual = np.linalg.solve(gram, context.played.outcome[..., None])
  return _of_rows(context, (visits.swapaxes(-1, -2) @ dual)[..., 0])


def implicit_reward(context: contexts.Context) -> np.ndarray:
  """Rewards whose sums tell wins from losses, by gradient descent.

      minimise -mean over pairs of log sigmoid(sum_win r - sum_loss r) + decay

  A group without both has rewards of 0.
  """
  visits = _visits(context)
  there = context.played.live.any(-1)
  wins = (there & (context.played.outcome > 0.5)).astype(float)
  losses = (there & (context.played.outcome <= 0.5)).astype(float)
  pairs = wins[..., :, None] * losses[..., None, :]
  pairs /= np.maximum(pairs.sum((-2, -1), keepdims=True), 1.0)
  reward = np.zeros((*visits.shape[:2], visits.shape[-1]))
  for _ in range(UPDATES):
    score = np.einsum("bpgk,bpk->bpg", visits, reward)
    margin = score[..., :, None] - score[..., None, :]
    push = pairs / (1.0 + np.exp(np.clip(margin, -30, 30)))
    ascent = push.sum(-1) - push.sum(-2)
    reward = (1 - RATE * DECAY) * reward
    reward += RATE * np.einsum("bpgk,bpg->bpk", visits, ascent)
  return _of_rows(context, reward)


def _visits(context: contexts.Context) -> np.ndarray:
  """How often each trajectory took each (state, action): [B, P, G, K]."""
  played = context.played
  num_actions = context.truth.policy.shape[-1]
  taken = played.state * num_actions + played.action
  size = context.truth.policy.shape[1] * num_actions
  visits = np.zeros((*played.live.shape[:3], size))
  b, p, g, _ = np.ogrid[tuple(slice(n) for n in played.live.shape)]
  np.add.at(visits, (b, p, g, taken), played.live.astype(float))
  return visits


def _of_rows(context: contexts.Context, table: np.ndarray) -> np.ndarray:
  """The table's entry [B, P, K] for what each row took."""
  played = context.played
  taken = played.state * context.truth.policy.shape[-1] + played.action
  b, p, _, _ = np.ogrid[tuple(slice(n) for n in played.live.shape)]
  return table[b, p, taken]
