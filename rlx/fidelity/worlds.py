"""Worlds that can be solved: frozen lakes, and reasoning that branches.

Both are sets of finite decision processes, one per prompt, with the tabular
softmax policy that is to be trained. States are keyed as the environments key
them, without a clock: so values depend on a state and on the turns left, and
the policy, like a real one that sees no clock, on the state alone.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from rlx.envs import frozen_lake
from rlx.fidelity import exact as exact_values
from rlx.fidelity import world as world_types

# Shares of episodes that succeed, from the hardest prompt to the easiest.
SUCCESS = (0.2, 0.6)
# Of the policy's preferences that have nothing to do with what is right.
WHIM = 0.5


def lakes(num_prompts: int = 8, turns: int = 12) -> world_types.Worlds:
  """The first held-out maps of `rlx.envs.frozen_lake`, 4 by 4, not slippery.

  The transitions are those of Gymnasium's environment. The policy prefers moves
  that end nearer to the goal, as strongly as gives the success of `SUCCESS`.
  """
  # Imported here: only those who play need Gymnasium.
  from gymnasium.envs.toy_text import frozen_lake as toy

  task = frozen_lake.FrozenLake(turns=turns, held_out=num_prompts)
  cells = task.size**2
  transition = np.zeros((num_prompts, cells, 4, cells))
  terminal = np.zeros((num_prompts, cells), bool)
  gain = np.zeros((num_prompts, cells))
  liking = np.zeros((num_prompts, cells, 4))
  for p in range(num_prompts):
    lake = task.map(p, "test")
    flat = "".join(lake)
    terminal[p] = [x in "HG" for x in flat]
    gain[p] = [x == "G" for x in flat]
    table = toy.FrozenLakeEnv(desc=list(lake), is_slippery=task.slippery).P
    for s in range(cells):
      for a in range(4):
        for probability, following, _, _ in table[s][a]:
          transition[p, s, a, int(following)] += probability
    distance = _distance(transition[p], terminal[p], gain[p])
    liking[p] = transition[p] @ -distance
  return _with_skill(
    world_types.Worlds(
      name="lake",
      transition=transition,
      terminal=terminal,
      gain=gain,
      start=np.zeros(num_prompts, np.int64),
      logits=liking,
      horizon=turns,
    )
  )


def _distance(
  transition: np.ndarray, terminal: np.ndarray, gain: np.ndarray
) -> np.ndarray:
  """Fewest moves from each cell to the goal; from a hole half the cells."""
  distance = np.where(gain > 0, 0.0, len(gain) / 2)
  for _ in range(len(gain)):
    moved = 1.0 + (transition @ distance).min(-1)
    distance = np.where(terminal, distance, np.minimum(distance, moved))
  return distance


# Nodes of `reasoning`: the question, tracks of each later stage, then ends.
STAGES, TRACKS = 5, 3
RIGHT_TRACK, DOUBTFUL, WRONG_TRACK = range(TRACKS)
RIGHT = 1 + (STAGES - 1) * TRACKS
WRONG = RIGHT + 1
STEPS = ("first reading", "second reading", "restate", "answer now")


def reasoning(num_prompts: int = 8, turns: int = 8) -> world_types.Worlds:
  """Five stages of a solution; some steps decide, others only fill.

  A node is a stage and a track: right, doubtful or wrong. There are four steps:
    two readings  go to the next stage. At a decisive stage one of them is right
                  and mostly leads to a better track, the other to a worse one;
                  at the other stages they do the same. Which stages are
                  decisive (two of five) and which reading is right depends on
                  the prompt and node.
    restate       changes nothing, and a turn is gone: the node is met again.
    answer now    ends; it is right with a chance that grows with the stage and
                  depends on the track.
  What a step leads to is drawn, so the same step from the same node may lead to
  either track. At the last stage both readings are answers.
  """
  size = WRONG + 1
  transition = np.zeros((num_prompts, size, 4, size))
  for p in range(num_prompts):
    rng = np.random.default_rng((p, 20))
    decisive = rng.choice(STAGES, 2, replace=False).tolist()
    for node in range(RIGHT):
      stage, track = _place(node)
      right = int(rng.integers(2))
      for step in range(2):
        way = _ways(track, stage in decisive, step == right)
        transition[p, node, step] = _reached(stage, way)
      transition[p, node, 2, node] = 1.0
      chance = (0.9, 0.4, 0.05)[track] * ((stage + 1) / STAGES) ** 2
      transition[p, node, 3, [RIGHT, WRONG]] = chance, 1 - chance
    transition[p, [RIGHT, WRONG], :, [RIGHT, WRONG]] = 1.0
  terminal = np.zeros((num_prompts, size), bool)
  terminal[:, [RIGHT, WRONG]] = True
  gain = np.zeros((num_prompts, size))
  gain[:, RIGHT] = 1.0
  made = world_types.Worlds(
    name="reasoning",
    transition=transition,
    terminal=terminal,
    gain=gain,
    start=np.zeros(num_prompts, np.int64),
    logits=np.zeros((num_prompts, size, 4)),
    horizon=turns,
  )
  # It likes what would be good if it went on at random.
  liking = exact_values.solve(made).actions[:, turns]
  return _with_skill(dataclasses.replace(made, logits=10 * liking))


def _place(node: int) -> tuple[int, int]:
  """Stage and track of a node; the question is on the right track."""
  if node == 0:
    return 0, RIGHT_TRACK
  stage, track = divmod(node - 1, TRACKS)
  return stage + 1, track


def _ways(track: int, decisive: bool, right: bool) -> np.ndarray:
  """Probability of each track after a reading."""
  if not decisive:
    stay = np.full(TRACKS, 0.05)
    stay[track] = 0.9
    return stay
  if right:
    return np.array([(0.9, 0.1, 0.0), (0.6, 0.3, 0.1), (0.1, 0.3, 0.6)][track])
  return np.array([(0.1, 0.3, 0.6), (0.05, 0.25, 0.7), (0.0, 0.1, 0.9)][track])


def _reached(stage: int, way: np.ndarray) -> np.ndarray:
  """The same over nodes: of the next stage, or of the two ends."""
  out = np.zeros(WRONG + 1)
  if stage + 1 < STAGES:
    out[1 + stage * TRACKS : 1 + (stage + 1) * TRACKS] = way
  else:
    chance = way @ (1.0, 0.5, 0.1)
    out[[RIGHT, WRONG]] = chance, 1 - chance
  return out


def _with_skill(worlds: world_types.Worlds) -> world_types.Worlds:
  """The worlds with logits so keen on what they like that `SUCCESS` results."""
  num_prompts = len(worlds.start)
  whim = WHIM * np.random.default_rng(0).normal(size=worlds.logits.shape)
  wanted = np.linspace(*SUCCESS, num_prompts)
  made = lambda keen: dataclasses.replace(
    worlds, logits=keen[:, None, None] * worlds.logits + whim
  )

  def succeeds(keen):
    found = exact_values.solve(made(keen))
    return found.values[np.arange(num_prompts), worlds.horizon, worlds.start]

  low, high = np.full(num_prompts, -4.0), np.full(num_prompts, 16.0)
  for _ in range(40):
    keen = (low + high) / 2
    enough = succeeds(keen) > wanted
    low, high = np.where(enough, low, keen), np.where(enough, keen, high)
  return made((low + high) / 2)


ALL: tuple[Callable[..., world_types.Worlds], ...] = (lakes, reasoning)
