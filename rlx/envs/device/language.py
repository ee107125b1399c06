"""A game and a tokenizer: observations into tokens, tokens into actions.

Tokens into actions is an automaton whose letters are tokens: its states are the
beginnings of actions, so that it reads a text however it is cut into tokens.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import tokenizer as tokenizers
from rlx.envs.device import protocol

_NEVER = "\0"  # The state from which nothing is an action any more.
_TRIED = 8  # Episodes whose beginnings are said both ways.


class Language(NamedTuple):
  """Tables, as arrays.

  Attributes:
    pieces: int32 [N, K], the tokens of each piece.
    sizes: int32 [N], how many they are.
    before: int32 [b], what a turn of the user begins with.
    after: int32 [a], what it ends with.
    closing: int32 [], ends a turn of the policy.
    moves: int [Q, V], the state after a token.
    means: int32 [Q], the action read in a state, or `protocol.UNREADABLE`.
  """

  pieces: Any
  sizes: Any
  before: Any
  after: Any
  closing: Any
  moves: Any
  means: Any


def make(
  game: protocol.Game, tokenizer: tokenizers.Tokenizer, vocab_size: int
) -> Language:
  """Returns how a game is spoken with this tokenizer.

  Args:
    vocab_size: of the policy, which may be larger than the tokenizer's.

  Raises:
    ValueError: an observation is not the tokens of its pieces in a row, as
      where the tokenizer merges across them; or a word is unknown to it.
  """
  ids = [tokenizer.encode(piece) for piece in game.pieces]
  pieces = np.zeros((len(ids), max(map(len, ids))), np.int32)
  for row, found in zip(pieces, ids, strict=True):
    row[: len(found)] = found
  before, after = _around(game, tokenizer, ids)
  moves, means = _automaton(game.actions, tokenizer, vocab_size)
  return Language(
    pieces=pieces,
    sizes=np.array([len(x) for x in ids], np.int32),
    before=np.array(before, np.int32),
    after=np.array(after, np.int32),
    closing=np.int32(tokenizer.stop_ids[0]),
    moves=moves,
    means=means,
  )


def text(game: protocol.Game, state: protocol.State) -> str:
  """Returns what a state looks like, on the host."""
  return "".join(game.pieces[i] for i in game.observe(state, np) if i >= 0)


def act(game: protocol.Game, said: str) -> int:
  """Returns the number of an action, or `UNREADABLE`, on the host."""
  word = said.strip().lower()
  if not said.isascii() or word not in game.actions:
    return protocol.UNREADABLE
  return game.actions.index(word)


def chunk(
  language: Language,
  observation: jax.Array,
  last: jax.Array,
  stopped: jax.Array,
  width: int,
) -> tuple[jax.Array, jax.Array]:
  """Returns what is appended to a row: tokens [width], and how many they are.

  That is its last token again, the token that closes its turn where it did not
  do so itself, and what it is shown as the user's turn. The number is right even
  where they are more than `width`.
  """
  wide = language.pieces.shape[1]
  shown = observation >= 0
  piece = jnp.where(shown, observation, 0)
  size = jnp.where(shown, language.sizes[piece], 0)
  there = jnp.arange(wide, dtype=jnp.int32)[None] < size[:, None]
  yes = lambda x: jnp.ones(x.shape, bool)
  tokens = jnp.concatenate(
    [
      jnp.stack([last, language.closing]),
      language.before,
      language.pieces[piece].reshape(-1),
      language.after,
    ]
  )
  keep = jnp.concatenate(
    [
      jnp.stack([jnp.ones((), bool), ~stopped]),
      yes(language.before),
      there.reshape(-1),
      yes(language.after),
    ]
  )
  at = jnp.where(keep, jnp.cumsum(keep.astype(jnp.int32)) - 1, width)
  out = jnp.zeros((width,), jnp.int32).at[at].set(tokens, mode="drop")
  return out, jnp.sum(keep.astype(jnp.int32))


def read(language: Language, tokens: jax.Array, length: jax.Array) -> jax.Array:
  """Returns the action that the first `length` tokens are, or `UNREADABLE`."""

  def move(t, state):
    after = language.moves[state, tokens[t]].astype(jnp.int32)
    return jnp.where(t < length, after, state)

  state = jax.lax.fori_loop(0, tokens.shape[0], move, jnp.int32(0))
  return language.means[state]


def _around(
  game: protocol.Game, tokenizer: tokenizers.Tokenizer, ids: Sequence[list[int]]
) -> tuple[list[int], list[int]]:
  """Returns the tokens before and after an observation, the same for all."""
  found = set()
  for seed in range(_TRIED):
    state = game.begin(seed, "train", seed)
    inner = [t for i in game.observe(state, np) if i >= 0 for t in ids[i]]
    whole = tokenizer.turn(text(game, state))
    size = len(inner)
    places = [
      i for i in range(len(whole)) if whole[i : i + size] == inner
    ]  # More than one where a template says it twice.
    found.add(
      (tuple(whole[: places[0]]), tuple(whole[places[0] + size :]))
      if len(places) == 1
      else None
    )
  if len(found) > 1 or None in found:
    raise ValueError(
      "the tokenizer does not say an observation piece by piece: its tokens "
      f"cross the places where these pieces meet: {game.pieces}"
    )
  ((before, after),) = (x for x in found if x is not None)
  return list(before), list(after)


def _automaton(
  actions: Sequence[str], tokenizer: tokenizers.Tokenizer, vocab_size: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the moves [Q, V] and what each state means [Q]."""
  texts = _texts(tokenizer, tokenizer.encode(actions[0]), vocab_size)
  begun = {action[:n] for action in actions for n in range(len(action) + 1)}
  letters = {*"".join(actions)}
  # Of a large vocabulary, most can be in no action.
  number: dict[str, int] = {}
  each = np.array([number.setdefault(x, len(number)) for x in texts])
  useful = [
    x if set("".join(x.lower().split())) <= letters else _NEVER for x in number
  ]
  states, moves = {"": 0}, []
  queue = [""]
  for state in queue:
    row = []
    for more in useful:
      after = _state(state + more, begun, actions)
      if after not in states:
        states[after] = len(states)
        queue.append(after)
      row.append(states[after])
    moves.append(np.array(row, np.int32)[each])
  means = [
    actions.index(x.strip()) if x.strip() in actions else protocol.UNREADABLE
    for x in queue
  ]
  small = np.int16 if len(states) < 2**15 else np.int32
  return np.stack(moves).astype(small), np.array(means, np.int32)


def _state(said: str, begun: set[str], actions: Sequence[str]) -> str:
  """Returns the shortest text from which reading goes on as from this one."""
  if not said.isascii() or _NEVER in said:
    return _NEVER
  said = said.lstrip().lower()
  if said in begun:
    return said
  word = said.rstrip()
  return f"{word}\n" if word in actions else _NEVER


def _texts(
  tokenizer: tokenizers.Tokenizer, anchor: list[int], vocab_size: int
) -> list[str]:
  """Returns what each token adds to a text that has begun."""
  known = len(tokenizer.decode(anchor))
  return [tokenizer.decode([*anchor, i])[known:] for i in range(vocab_size)]
