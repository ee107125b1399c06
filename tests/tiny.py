"""The tiny policy and the tiny tasks that tests share.

The vocabulary has seven tokens: padding, the end of a turn, the three markers
of roles, and two words, `l` and `r`. The policy is a softmax over seven numbers
that are linear in the last token and in the mean of all tokens so far, so that
it has a history to cache. Everything compiles in an instant.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlx import policy as policies
from rlx import sharding
from rlx import tokenizer as tokenizers
from rlx.models import config as model_config
from rlx.models import policy as model_policy
from rlx.rollout import engine, episodes, sampling

WORDS = ("l", "r")
VOCAB = 7
END, LEFT, RIGHT = 1, 5, 6
WIDTH = 2 * VOCAB  # Features: the last token, and the mean of all so far.


def tokenizer() -> tokenizers.WordTokenizer:
  return tokenizers.WordTokenizer(WORDS)


def policy() -> policies.Policy:
  """A softmax over seven numbers; `init` starts it uniform."""

  def init(key):
    del key
    return {"table": jnp.zeros((WIDTH, VOCAB))}

  def features(own, seen, visible):
    share = visible / visible.sum(-1, keepdims=True)
    return jnp.concatenate([own, jnp.einsum("bcs,bsv->bcv", share, seen)], -1)

  def apply(params, tokens, positions, segments):
    del params, positions
    own = jax.nn.one_hot(tokens, VOCAB)
    index = jnp.arange(tokens.shape[1])
    past = index[:, None] >= index[None]
    same = segments[:, :, None] == segments[:, None]
    return features(own, own, (past[None] & same).astype(jnp.float32))

  def extend(params, cache, tokens, positions, window):
    del params
    own = jax.nn.one_hot(tokens, VOCAB)
    rows = jnp.arange(tokens.shape[0])[:, None]
    cache = cache.at[rows, positions].set(own, mode="drop")
    visible = jnp.arange(window)[None, None] <= positions[..., None]
    seen = features(own, cache[:, :window], visible.astype(jnp.float32))
    return seen, cache

  return policies.Policy(
    init=init,
    apply=apply,
    logits=lambda params, hidden: hidden @ params["table"],
    init_cache=lambda rows, length: jnp.zeros((rows, length, VOCAB)),
    extend=extend,
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
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(model.init, jax.random.key(0))

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
  made: engine.Engine, params: Any, task: Any, seed: int = 0, first: int = 0
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
    version=0,
  )


def host(tree: Any) -> Any:
  """A tree of NumPy copies that no donation takes away."""
  return jax.tree.map(np.array, tree)
