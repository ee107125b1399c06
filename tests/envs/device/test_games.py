"""Games on arrays: against Gymnasium's own, against plain rules written out
again, and under NumPy and under JAX alike."""

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.toy_text import frozen_lake as toy_text

from rlx.envs import bandit, frozen_lake, key_value, protocol, sokoban
from rlx.envs.device import language
from rlx.envs.device import protocol as device

LAKE = frozen_lake.FrozenLake(size=4, held_out=4)
ROOM = sokoban.Sokoban(size=4, boxes=2, depth=5, turns=10, box_reward=0.25)
MEMORY = key_value.KeyValue(turns=9)
ARMS = bandit.Bandit(drawn=True)
OURS = (ROOM, MEMORY, ARMS)
ALL = (LAKE, dataclasses.replace(LAKE, slippery=True), *OURS)
name_of = lambda task: type(task).__name__


@pytest.mark.parametrize("slippery", [False, True])
@pytest.mark.parametrize("index", [0, 3])
def test_every_transition_is_one_of_gymnasiums_table(index, slippery):
  task = dataclasses.replace(LAKE, slippery=slippery)
  lake = toy_text.FrozenLakeEnv(
    desc=list(task.map(index, "train")), is_slippery=slippery
  )
  game = task.on_device()
  start = game.begin(index, "train", 0)
  for cell, actions in lake.P.items():
    for action, ways in actions.items():
      for slip, (_, after, reward, over) in enumerate(ways):
        # Where it is not slippery there is one way, ahead.
        way = slip if slippery and len(ways) == 3 else 1
        state = start._replace(
          cell=np.int32(cell), slips=np.full(task.turns, way, np.int32)
        )
        found = game.step(state, np.int32(action), np)
        got = (int(found.state.cell), float(found.reward), found.terminated)
        assert got == (after, reward, over), (cell, action, slip)


def test_slips_are_those_that_gymnasium_draws_from_the_seed():
  task = dataclasses.replace(LAKE, slippery=True)
  lake = toy_text.FrozenLakeEnv(desc=["SF", "FG"], is_slippery=True)
  seen = set()
  for seed in (0, 7, 2**30 + 5):
    slips = task.on_device().begin(0, "train", seed).slips
    lake.reset(seed=seed)
    for slip in slips:
      lake.s = 0
      # From the first cell of such a lake each of three ways leads elsewhere.
      ways = [after for _, after, _, _ in lake.P[0][1]]
      assert lake.step(1)[0] == ways[slip]
    seen |= {*slips.tolist()}
  assert seen == {0, 1, 2}


def walk(task, index, seed, turns=12) -> Iterator[tuple[Any, ...]]:
  """Actions, some unreadable, and what the episode on the host answers."""
  rng, game = random.Random(seed), task.on_device()
  episode = task.episode(index, "train")
  yield None, None, episode.reset(seed), episode
  for _ in range(turns):
    number = rng.randrange(-1, len(game.actions))
    text = game.actions[number] if number >= 0 else "nothing"
    found = episode.step(text)
    yield number, text, found, episode
    if found[2]:
      return


@pytest.mark.parametrize("task", ALL, ids=name_of)
def test_a_game_is_its_episode_under_jax_as_on_the_host(task):
  game = task.on_device()
  step = jax.jit(lambda state, action: game.step(state, action, jnp))
  look = jax.jit(lambda x: (game.observe(x, jnp), game.key(x, jnp)))
  for index in range(4):
    state = jax.tree.map(jnp.asarray, game.begin(index, "train", 5))
    for number, _, found, _ in walk(task, index, 5):
      if number is not None:
        got = step(state, jnp.int32(number))
        state, info = got.state, found[4]
        assert float(got.reward) == np.float32(found[1])
        over = bool(got.terminated), bool(got.truncated)
        assert over == found[2:4]
        assert bool(got.parse_error) == info.get("parse_error", False)
        said = int(got.success) != device.UNSAID
        assert said == ("success" in info)
        assert not said or bool(got.success) == info["success"]
        told = dict(zip(game.evidence, got.evidence.tolist(), strict=True))
        assert told == info["evidence"]
        for old, new in zip(game.begin(0, "train", 0), state, strict=True):
          assert (old.dtype, old.shape) == (new.dtype, new.shape)
      shown, key = look(state)
      text = "".join(game.pieces[i] for i in shown.tolist() if i >= 0)
      assert text == found[0]
      assert game.state_key(tuple(key.tolist())) == found[-1]["state_key"]


def test_a_box_reward_that_is_no_binary_fraction_is_rounded_alike():
  """0.18 + 1 is another float32 where 0.18 was rounded first."""
  game = dataclasses.replace(ROOM, boxes=1, box_reward=0.18).on_device()
  start = game.begin(0, "train", 0)
  # Player, box and target in a row.
  cells, boxes = np.zeros(16, np.int32), np.zeros(16, bool)
  cells[2], boxes[1] = 2, True
  state = start._replace(cells=cells, boxes=boxes, player=np.int32(0))
  right = np.int32(game.actions.index("right"))
  host = game.step(state, right, np)
  chip = game.step(jax.tree.map(jnp.asarray, state), right, jnp)
  assert host.terminated
  assert chip.reward == host.reward > 1


@pytest.mark.parametrize("task", ALL, ids=name_of)
def test_they_are_tasks_whose_words_are_known_and_whose_starts_are_fixed(task):
  assert isinstance(task, protocol.Task)
  assert isinstance(task, device.OnDevice)
  assert isinstance(task.episode(0, "test"), protocol.Restorable)
  words = {*task.words()}
  for _, text, found, _ in walk(task, 3, 0):
    assert {*found[0].split()} <= words
    assert text in (None, "nothing") or {*text.split()} <= words
  first = [
    task.episode(i, s).reset(0)[0] for s in ("train", "test") for i in (1, 1)
  ]
  assert first[0] == first[1]
  assert first[2] == first[3]


@pytest.mark.parametrize("task", OURS, ids=name_of)
def test_a_snapshot_is_the_state_and_play_goes_on_from_it(task):
  *_, last = (x for x, _ in zip(walk(task, 2, 1), range(4), strict=False))
  episode = last[-1]
  kept, text = episode.snapshot(), task.on_device().actions[0]
  runs = []
  for _ in range(2):
    other = task.episode(9, "train")
    other.restore(kept, 3)
    runs.append([other.step(text)[:3] for _ in range(3)])
    episode.step(text)
  assert runs[0] == runs[1]


def lines(level, player, boxes):
  """A room drawn by the rules in the docstring."""
  out = []
  for cell, kind in enumerate(level.cells):
    target = kind == "T"
    if cell == player:
      out.append("+" if target else "P")
    elif cell in boxes:
      out.append("*" if target else "B")
    else:
      out.append(kind)
  n = level.size
  return "\n".join(" ".join(out[i * n : i * n + n]) for i in range(n))


@pytest.mark.parametrize("index", range(6))
def test_sokoban_is_what_its_rules_say(index):
  level = ROOM.level(index, "train")
  player, boxes = level.player, set(level.boxes)
  targets = {i for i, x in enumerate(level.cells) if x == "T"}
  moves = {"left": (0, -1), "down": (1, 0), "right": (0, 1), "up": (-1, 0)}

  def beside(cell, way):
    row, column = cell // 4 + way[0], cell % 4 + way[1]
    inside = 0 <= row < 4 and 0 <= column < 4
    free = inside and level.cells[row * 4 + column] != "#"
    return row * 4 + column if free else None

  for number, text, found, _ in walk(ROOM, index, index, turns=40):
    paid = 0.0
    before = len(boxes & targets)
    if number is not None and number < 0:
      paid = -0.1
    elif number is not None:
      ahead = beside(player, moves[text])
      beyond = None if ahead is None else beside(ahead, moves[text])
      if ahead is not None and ahead not in boxes:
        player = ahead
      elif ahead is not None and beyond is not None and beyond not in boxes:
        player, boxes = ahead, boxes - {ahead} | {beyond}
      gained = len(boxes & targets) - before
      paid = 0.25 * gained + (boxes == targets)
    assert found[0] == lines(level, player, boxes)
    if number is not None:
      assert found[1] == np.float32(paid)
      assert found[2] == (boxes == targets)


def test_levels_are_solvable_in_time_and_apart_from_those_held_out():
  splits = {
    split: [ROOM.level(i, split) for i in range(40)]
    for split in ("train", "test")
  }
  assert not {*splits["train"]} & {*splits["test"]}
  assert len({*splits["train"]}) > 20
  for level in splits["train"][:10]:
    place = (level.player, level.boxes)
    left = sokoban.distances(level)
    assert 0 < left[place] <= ROOM.depth <= ROOM.turns
    assert not any(level.cells[box] == "T" for box in level.boxes)


def test_a_perfect_player_solves_sokoban_in_the_fewest_moves():
  task = dataclasses.replace(ROOM, skill=1.0)
  for index in range(6):
    level = task.level(index, "train")
    episode = task.episode(index, "train")
    shown, _ = episode.reset(0)
    found: tuple = ()
    pairs = task.demonstration(index, 0)
    assert len(pairs) == sokoban.distances(level)[level.player, level.boxes]
    for seen, word in pairs:
      assert seen == shown
      found = episode.step(word)
      shown = found[0]
    assert found[2]
    assert found[4]["success"]


@pytest.mark.parametrize("index", range(4))
def test_the_memory_asks_for_what_was_put_last(index):
  task = dataclasses.replace(MEMORY, skill=1.0)
  episode, known = task.episode(index, "train"), {}
  shown, _ = episode.reset(0)
  total, answers = 0.0, 0
  found: list[Any] = []
  for seen, answer in task.demonstration(index, 0):
    assert seen == shown
    kind, key, *value = shown.split()
    if kind == "put":
      known[key] = value[0]
    else:
      assert answer == known[key]
      answers += 1
    shown, reward, *found = episode.step(answer)
    assert (reward > 0) == (kind == "ask")
    total += reward
  assert answers
  assert found[0]
  assert found[2]["success"]
  assert total == pytest.approx(1)


def test_the_bandit_pays_by_its_odds_and_says_which_arm_is_best():
  task = bandit.Bandit(turns=8, good=0.75, bad=0.25)
  wins: dict[bool, list[bool]] = {True: [], False: []}
  for seed in range(150):
    for number, _, found, _ in walk(task, seed, seed, turns=8):
      if number is not None and number >= 0:
        wins[found[4]["evidence"]["matched"] == 1].append(found[1] > 0)
  assert np.mean(wins[True]) == pytest.approx(0.75, abs=0.1)
  assert np.mean(wins[False]) == pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize(
  "make, fields, message",
  [
    (sokoban.Sokoban, {"size": 2}, "size=2: must be in 3 to 30"),
    (sokoban.Sokoban, {"depth": 20}, "depth=20: must be in 2 to turns=16"),
    (sokoban.Sokoban, {"boxes": 9}, "boxes=9: a room of size 5"),
    (key_value.KeyValue, {"turns": 1}, "turns=1: must be 2 or more"),
    (key_value.KeyValue, {"asks": 2.0}, r"asks=2.0: must be in \[0, 1\]"),
    (bandit.Bandit, {"arms": 1}, "arms=1: must be 2 or more"),
    (bandit.Bandit, {"bad": 0.95}, "bad=0.95, good=0.9"),
  ],
)
def test_impossible_games_are_refused(make, fields, message):
  with pytest.raises(ValueError, match=message):
    make(**fields)


def test_what_is_said_is_read_in_any_case_and_only_in_ascii():
  game = ROOM.on_device()
  assert language.act(game, " Left\n") == 0
  assert language.act(game, "\u00a0left") == device.UNREADABLE
  assert language.act(game, "left left") == device.UNREADABLE
