"""The tiny policy and the tiny tasks that tests share.

The vocabulary has seven tokens: padding, the end of a turn, the three markers
of roles, and two words, `l` and `r`. The policy is a softmax over seven numbers
that are linear in the last token, in the mean of all tokens so far, and in the
cosine of the position, so that it has a history to cache and a place to know.
Everything compiles in an instant.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlx import config, experiment, learner, recipes, sharding, train_state
from rlx import optimizer as optimizers
from rlx import policy as policies
from rlx import tokenizer as tokenizers
from rlx.envs import frozen_lake
from rlx.models import config as model_config
from rlx.models import policy as model_policy
from rlx.rollout import config as rollouts
from rlx.rollout import engine, episodes, record, sampling

WORDS = ("l", "r")
VOCAB = 7
END, LEFT, RIGHT = 1, 5, 6
WIDTH = 2 * VOCAB + 1  # Features: last token, mean of all so far, position.


def tokenizer() -> tokenizers.WordTokenizer:
  return tokenizers.WordTokenizer(WORDS)


def policy() -> policies.Policy:
  """A softmax over seven numbers; `init` starts it uniform."""

  def init(key):
    del key
    return {"table": jnp.zeros((WIDTH, VOCAB))}

  def features(own, seen, visible, positions):
    share = visible / visible.sum(-1, keepdims=True)
    mean = jnp.einsum("bcs,bsv->bcv", share, seen)
    return jnp.concatenate([own, mean, jnp.cos(positions)[..., None]], -1)

  def apply(params, tokens, positions, segments, last=None, layout=None):
    del params, layout
    own = jax.nn.one_hot(tokens, VOCAB)
    index = jnp.arange(tokens.shape[1])
    past = index[:, None] >= index[None]
    ends = (segments if last is None else last)[:, None]
    here = segments[:, :, None]
    path = (segments[:, None] <= here) & (here <= ends)
    visible = (past[None] & path).astype(jnp.float32)
    return features(own, own, visible, positions)

  def extend(params, cache, tokens, positions, window, trunk=None, cut=None):
    del params
    own = jax.nn.one_hot(tokens, VOCAB)
    rows = jnp.arange(tokens.shape[0])[:, None]
    slots = positions if cut is None else positions - cut[:, None]
    slots = jnp.where(slots < 0, cache.shape[1], slots)
    cache = cache.at[rows, slots].set(own, mode="drop")
    seen = cache[:, :window]
    visible = jnp.arange(window)[None, None] <= slots[..., None]
    if trunk is not None and cut is not None:
      fork = tokens.shape[0] // trunk.shape[0]
      seen = jnp.concatenate([jnp.repeat(trunk, fork, axis=0), seen], axis=1)
      kept = jnp.arange(trunk.shape[1])[None, None] < cut[:, None, None]
      kept = jnp.broadcast_to(kept, (*tokens.shape, trunk.shape[1]))
      visible = jnp.concatenate([kept, visible], axis=-1)
    visible = visible.astype(jnp.float32)
    return features(own, seen, visible, positions), cache

  def store(pool, pages, start, rows, cache, trunk=None, cut=None):
    at = start[:, None] + jnp.arange(pool.shape[1])[None]
    own = at if cut is None else at - cut[rows][:, None]
    found = cache[rows[:, None], jnp.clip(own, 0, cache.shape[1] - 1)]
    if trunk is not None and cut is not None:
      fork = cache.shape[0] // trunk.shape[0]
      at = jnp.clip(at, 0, trunk.shape[1] - 1)
      shared = trunk[(rows // fork)[:, None], at]
      found = jnp.where(own[..., None] >= 0, found, shared)
    return pool.at[pages].set(found, mode="drop")

  return policies.Policy(
    init=init,
    apply=apply,
    logits=lambda params, hidden: hidden @ params["table"],
    init_cache=lambda rows, length: jnp.zeros((rows, length, VOCAB)),
    extend=extend,
    init_pages=lambda pages, size: jnp.zeros((pages, size, VOCAB)),
    load=lambda pool, table, in_place=False: (
      pool.at[table].get(mode="clip").reshape(table.shape[0], -1, VOCAB)
    ),
    store=store,
    axes={"table": (None, None)},
    vocab_size=VOCAB,
  )


def value(own_network: bool = False) -> policies.Value:
  """A linear value of the policy's features, or of its own one-hot tokens."""
  width = VOCAB if own_network else WIDTH

  def init(key):
    del key
    return {"weight": jnp.zeros(width), "bias": jnp.zeros(())}

  def apply(params, tokens, positions, segments, trunk_hidden):
    del positions, segments
    own = jax.nn.one_hot(tokens, VOCAB)
    scores = (own if own_network else trunk_hidden) @ params["weight"]
    before = jnp.pad(scores[:, :-1], ((0, 0), (1, 0)))
    return before + params["bias"]

  return policies.Value(init, apply, axes={"weight": (None,), "bias": ()})


def params(model: policies.Policy, seed: int = 0) -> Any:
  """Parameters from NumPy's generator: compiling an `init` takes seconds.

  Large enough for distributions that are far from uniform.
  """
  return params_like(jax.eval_shape(model.init, jax.random.key(0)), seed)


def params_like(shapes: Any, seed: int) -> Any:
  rng = np.random.default_rng(seed)

  def draw(leaf):
    scale, center = (0.3, 0.0) if len(leaf.shape) > 1 else (0.1, 1.0)
    values = center + scale * rng.standard_normal(leaf.shape)
    return jnp.asarray(values, leaf.dtype)

  return jax.tree.map(draw, shapes)


# Two layers, every projection, and dimensions that divide over any small mesh.
DECODER = model_config.DecoderConfig(
  vocab_size=8,
  embed_dim=16,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
  mlp_dim=32,
  layers="unroll",
)


def decoder(**fields: Any) -> policies.Policy:
  return model_policy.make_policy(dataclasses.replace(DECODER, **fields))


def one_device():
  return sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:1])


def make_engine(
  model: policies.Policy,
  shape: engine.Shape,
  *,
  sampler: sampling.Sampling = sampling.Sampling(),
  stop_ids: tuple[int, ...] = (END,),
  mesh: Any = None,
) -> engine.Engine:
  mesh = one_device() if mesh is None else mesh
  return engine.make_engine(
    model, shape, sampler=sampler, stop_ids=stop_ids, mesh=mesh
  )


class SayEpisode:
  """Shows words in turn; what is answered is scored by `Say`."""

  def __init__(self, task: "Say", index: int):
    self._task, self._index, self._turn = task, index, 0

  def reset(self, seed: int) -> tuple[str, dict[str, Any]]:
    del seed
    self._turn = 0
    return self._shown(), {"state_key": ("turn", 0)}

  def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
    right = action == self._task.word
    self._turn += 1
    info = {"state_key": ("turn", self._turn), "parse_error": not action}
    over = self._turn == self._task.turns
    return self._shown(), float(right), over, False, info

  def _shown(self) -> str:
    return WORDS[(self._index + self._turn) % 2]


@dataclasses.dataclass(frozen=True)
class Say:
  """A bandit, turn after turn: saying `word`, and only that, pays 1."""

  word: str = "r"
  turns: int = 2

  @property
  def max_turns(self) -> int:
    return self.turns

  def episode(self, index: int, split: str) -> SayEpisode:
    del split
    return SayEpisode(self, index)

  def num_test(self) -> int:
    return 8

  def words(self) -> tuple[str, ...]:
    return WORDS

  def demonstration(self, index: int, seed: int) -> list[tuple[str, str]]:
    word = WORDS[(index + seed) % 2]
    return [(WORDS[(index + t) % 2], word) for t in range(self.turns)]


def shape(**fields: int) -> engine.Shape:
  """Four prompts of four samples, two turns of two tokens at the most."""
  sizes = {
    "num_prompts": 4,
    "num_samples": 4,
    "prompt_tokens": 3,
    "turn_tokens": 4,
    "action_tokens": 2,
    "turns": 2,
  }
  return engine.Shape(**{**sizes, **fields})


def play(
  made: engine.Engine,
  params: Any,
  task: Any,
  seed: int = 0,
  first: int = 0,
  version: int = 0,
) -> episodes.Played:
  ids = [first + i for i in range(made.shape.num_prompts)]
  return episodes.play(
    made,
    params,
    jax.random.key(seed),
    tokenizer(),
    lambda index: task.episode(index, "train"),
    prompt_ids=ids,
    indices=ids,
    version=version,
  )


def host(tree: Any) -> Any:
  """A tree of NumPy copies that no donation takes away."""
  return jax.tree.map(np.array, tree)


def batch(
  rows: int = 16, length: int = 64, turns: int = 3, seed: int = 0
) -> record.Record:
  """Ragged conversations of random tokens, in groups of four, with rewards.

  The log-probabilities are not of any policy.
  """
  rng = np.random.default_rng(seed)
  log = record.Record.empty(
    np.arange(rows) // 4,
    np.arange(rows) % 4,
    length=length,
    turns=turns,
    version=0,
  )
  most = (length - 4) // (2 * turns)
  for row in range(rows):
    at = np.array([row])
    # Half of the rows are short, so that they are padded to another length.
    longest = most if row % 2 else max(most // 4, 1)
    log.observe(at, [rng.integers(2, VOCAB, 4).tolist()])
    for turn in range(int(rng.integers(1, turns + 1))):
      if turn:
        said = rng.integers(2, VOCAB, int(rng.integers(1, longest + 1)))
        log.observe(at, [said.tolist()])
      num = int(rng.integers(1, longest + 1))
      chosen = rng.integers(1, VOCAB, (1, num))
      guess = -rng.uniform(0.5, 3.0, (1, num))
      log.act(at, chosen, guess, guess, np.array([num]))
      state = int(rng.integers(3))
      log.pay(row, float(rng.integers(-1, 3)), state, num, state)
  return log


def make_learner(
  model: policies.Policy,
  recipe: recipes.Recipe,
  log: record.Record,
  *,
  mesh: Any = None,
  value: policies.Value | None = None,
  optimizer: optimizers.OptimizerConfig | None = None,
  temperature: float = 1.0,
  prompt: int = 0,
  group: int = 1,
  **settings: Any,
) -> learner.Learner:
  """A learner for batches of the shape of `log`.

  With the large `eps`, an update is a smooth function of its gradient.
  """
  return learner.make_learner(
    model,
    recipe,
    optimizer or optimizers.OptimizerConfig(learning_rate=0.1, eps=1.0),
    train_state.LearnerConfig(**settings),
    mesh=one_device() if mesh is None else mesh,
    temperature=temperature,
    rows=len(log.tokens),
    length=log.tokens.shape[1],
    turns=log.reward.shape[1],
    prompt=prompt,
    group=group,
    value=value,
  )


def start(made: learner.Learner, seed: int = 0) -> train_state.TrainState:
  """A state whose policy is far from uniform."""
  shapes = jax.eval_shape(made.init, jax.random.key(0))
  drawn = params_like(shapes.params["policy"], seed)
  places = made.placements.params["policy"]
  return made.init(jax.random.key(seed), jax.device_put(drawn, places))


# A whole run of six steps, on a real environment with a real decoder.
EXPERIMENT = experiment.TrainConfig(
  name="tiny",
  model=dataclasses.replace(DECODER, vocab_size=14, num_layers=1),
  task=frozen_lake.FrozenLake(size=3, turns=2, held_out=4),
  recipe=config.spec(recipes.gigpo),
  steps=6,
  rollout=rollouts.RolloutConfig(
    num_prompts=4,
    group_size=2,
    max_prompt_length=11,
    max_turn_length=12,
    max_completion_length=2,
  ),
  optimizer=optimizers.OptimizerConfig(learning_rate=1e-2),
  warm_start=experiment.WarmStart(steps=2, batch_size=8, num_demonstrations=8),
  # Evaluations have the shape of the rollouts, so that they compile once.
  eval=experiment.EvalConfig(every=3, num=4, samples=2, greedy=False),
  checkpoint=experiment.CheckpointConfig(every=2),
  log=experiment.LogConfig(samples_every=2, num_samples=3),
)
