"""What a game says and is told in tokens is what the host says and is told."""

import functools
import random

import jax
import numpy as np
import pytest

from rlx import tokenizer as tokenizers
from rlx.envs import bandit, frozen_lake, key_value
from rlx.envs.device import language

TASKS = (
  frozen_lake.FrozenLake(size=3, held_out=4),
  key_value.KeyValue(keys=12),
  bandit.Bandit(),
)
KINDS = ("words", "bytes")
WIDTH = 48


def spoken(kind, task):
  """The tokenizer, and the language for a policy with more rows than words."""
  tokenizer = (
    tokenizers.WordTokenizer(task.words())
    if kind == "words"
    else tokenizers.ByteTokenizer()
  )
  size = tokenizer.vocab_size + 2
  return tokenizer, size, language.make(task.on_device(), tokenizer, size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_an_observation_is_the_tokenizers_own_turn(kind, task):
  tokenizer, _, tables = spoken(kind, task)
  game = task.on_device()
  say = jax.jit(functools.partial(language.chunk, width=WIDTH))
  for index in range(6):
    state = game.begin(index, "train", index)
    turn = tokenizer.turn(language.text(game, state))
    for stopped in (False, True):
      closing = [] if stopped else [tokenizer.stop_ids[0]]
      want = [7, *closing, *turn]
      tokens, size = say(
        tables, game.observe(state, np), np.int32(7), np.bool_(stopped)
      )
      assert int(size) == len(want)
      assert tokens.tolist()[: len(want)] == want
      assert not tokens[len(want) :].any()


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_counted_all_the_same(kind):
  tokenizer, _, tables = spoken(kind, TASKS[0])
  game = TASKS[0].on_device()
  state = game.begin(0, "train", 0)
  shown = game.observe(state, np)
  say = jax.jit(functools.partial(language.chunk, width=5))
  tokens, size = say(tables, shown, np.int32(7), np.bool_(True))
  turn = tokenizer.turn(language.text(game, state))
  assert int(size) == 1 + len(turn)
  assert tokens.tolist() == [7, *turn[:4]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_tokens_are_read_as_their_text_is(kind, task):
  tokenizer, size, tables = spoken(kind, task)
  game, rng = task.on_device(), random.Random(0)
  texts = [tokenizer.encode(word) for word in game.actions]
  spaces = tokenizer.encode(" \n\t ") or [0]
  rows = []
  for _ in range(300):
    ids = list(rng.choice(texts))
    for _ in range(rng.randrange(4)):
      more = rng.choice([rng.randrange(size), rng.choice(spaces), 0, size - 1])
      ids.insert(rng.choice([0, len(ids), rng.randrange(len(ids) + 1)]), more)
    rows.append(ids)
  if kind == "bytes":
    rows += [tokenizer.encode(w.upper()) for w in game.actions]
    rows += [
      tokenizer.encode(f"\u00a0{game.actions[0]}"),
      tokenizer.encode("\u212a1"),
    ]
  wide = np.zeros((len(rows), max(map(len, rows))), np.int32)
  for row, ids in zip(wide, rows, strict=True):
    row[: len(ids)] = ids
  read = jax.jit(jax.vmap(language.read, in_axes=(None, 0, 0)))
  lengths = np.array([len(x) for x in rows], np.int32)
  got = read(tables, wide, lengths).tolist()
  want = [language.act(game, tokenizer.decode(ids)) for ids in rows]
  assert got == want
  assert {*range(len(game.actions))} <= {*want}
  assert -1 in want


class Merging(tokenizers.ByteTokenizer):
  """Writes two dots in a row, and the space between, as one token."""

  def encode(self, text):
    out = []
    for part in text.replace(". .", "\0").encode():
      out.append(262 if part == 0 else part + 3)
    return out


def test_a_tokenizer_that_merges_across_pieces_is_refused():
  with pytest.raises(ValueError, match="piece by piece"):
    language.make(TASKS[0].on_device(), Merging(), 263)
