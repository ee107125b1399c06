"""Packs: every path is there, nothing is there twice that need not be."""

import dataclasses

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from rlx import learner, optimizer, recipes, train_state
from rlx.packing import place as places
from rlx.packing import shapes, split, walk
from rlx.programs import tokens as blanks
from tests import tiny


def paths(view, shape, length, rows):
  """{row: (columns that see each chosen token's source, ...)} as a reader."""
  found = {}
  slots = view.slot.reshape(shape.packs, shape.rows, length)
  numbers = view.rows.reshape(shape.packs, shape.rows)
  for pack in range(shape.packs):
    segments, last = view.segments[pack], view.last[pack]
    for place in range(shape.rows):
      row = int(numbers[pack, place])
      chosen = np.flatnonzero(slots[pack, place] < shape.targets)
      if row == rows:
        assert not len(chosen)
        continue
      assert row not in found
      found[row] = {}
      for t in chosen.tolist():
        slot = slots[pack, place, t]
        source = view.source[pack, slot]
        sees = (segments <= segments[source]) & (segments[source] <= last)
        sees &= (np.arange(shape.columns) <= source) & (segments > 0)
        columns = np.flatnonzero(sees)
        _check_layout(columns, source, shape)
        found[row][t] = (
          view.tokens[pack, columns],
          view.positions[pack, columns],
          view.target[pack, slot],
        )
  return found


def _check_layout(columns, source, shape):
  """Blocks do not see each other."""
  block = (columns[columns >= shape.trunk] - shape.trunk) // shape.block
  own = (source - shape.trunk) // shape.block
  assert source < shape.trunk or (block == own).all()


def check(tokens, mask, known):
  """Every chosen token is predicted from its row's tokens before it."""
  found = {}
  for view, shape in split.split(tokens, mask, known):
    new = paths(view, shape, tokens.shape[1], len(tokens))
    assert not found.keys() & new.keys()
    found |= new
  assert sorted(found) == np.flatnonzero(mask.any(1)).tolist()
  for row, said in found.items():
    chosen = np.flatnonzero(mask[row])
    assert sorted(said) == chosen[chosen > 0].tolist()
    for t, (seen, positions, target) in said.items():
      np.testing.assert_array_equal(seen, tokens[row, :t])
      np.testing.assert_array_equal(positions, np.arange(t))
      assert target == tokens[row, t]


@hypothesis.settings(deadline=None, max_examples=60, derandomize=True)
@hypothesis.given(
  seed=st.integers(0, 10_000),
  length=st.integers(2, 40),
  group=st.integers(1, 4),
  groups=st.integers(1, 4),
  tokens=st.sampled_from([0, 30, 100, 1000]),
  parts=st.sampled_from([1, 2]),
  hinted=st.booleans(),
  width=st.sampled_from([2, 256]),
)
def test_every_chosen_token_is_predicted_from_its_own_path(
  seed, length, group, groups, tokens, parts, hinted, width
):
  rng = np.random.default_rng(seed)
  rows = group * groups
  # Few words, so that rows share more than their prompts.
  batch = rng.integers(0, 3, (rows, length))
  prompt = int(rng.integers(1, length))
  for start in range(0, rows, group):
    own = int(rng.integers(1, prompt + 1))
    batch[start : start + group, :own] = rng.integers(0, 3, own)
  mask = rng.random(batch.shape) < rng.choice([0.1, 0.5])
  mask &= np.arange(length) < rng.integers(1, length + 1, (rows, 1))
  known = shapes.make(
    length,
    rows,
    tokens,
    parts,
    prompt=prompt * hinted,
    group=group,
    chosen=int(mask.sum(1).max()) * hinted,
    width=width,
  )
  assert all(shape.packs % parts == 0 for shape in known.all)
  check(batch, mask, known)


def group(prompt=512, new=64, rows=8, seed=0):
  rng = np.random.default_rng(seed)
  tokens = rng.integers(3, 500, (rows, prompt + new))
  tokens[:, :prompt] = tokens[0, :prompt]
  return tokens, np.arange(prompt + new)[None] >= np.full((rows, 1), prompt)


def columns(micro):
  return sum(shape.packs * shape.columns for _, shape in micro)


def test_a_group_has_its_prompt_once():
  tokens, mask = group()
  known = shapes.make(576, 8, 2048, 1, prompt=512, group=8, chosen=64)
  [(view, shape)] = split.split(tokens, mask, known)
  # The last token of a completion predicts nothing.
  assert (view.segments > 0).sum() == 512 + 8 * 63
  assert shape.layout == (512, 8, 64)
  assert shape.columns == 1024
  assert shape.targets == 8 * 64


def test_without_a_hint_a_group_is_a_tree():
  tokens, mask = group()
  known = shapes.make(576, 8, 2048, 1)
  [(view, shape)] = split.split(tokens, mask, known)
  assert shape.layout is None
  assert (view.segments > 0).sum() == 512 + 8 * 63


@pytest.mark.parametrize("half", [512, 1024])
def test_a_long_group_shares_its_prompt_unless_a_limit_is_given(half):
  tokens, mask = group(half, half)

  def made(config):
    return learner.make_learner(
      tiny.policy(),
      recipes.grpo(),
      optimizer.OptimizerConfig(),
      config,
      mesh=tiny.one_device(),
      temperature=1.0,
      rows=8,
      length=2 * half,
      prompt=half,
      group=8,
      max_chosen=half,
    )

  blank = blanks.blank(8, 2 * half).rollout
  rollout = dataclasses.replace(
    blank, tokens=jnp.array(tokens), mask=jnp.array(mask)
  )
  default = made(train_state.LearnerConfig())
  assert default.tokens(rollout) == half + 8 * half
  # A limit bounds what goes through the model at once.
  for limit in (2048, 4096, 16_384):
    most, each = train_state.LearnerConfig(microbatch_tokens=limit).limits
    known = shapes.make(
      *(2 * half, 8, most, 1),
      prompt=half,
      group=8,
      group_tokens=each,
      chosen=half,
    )
    assert all(x.packs * x.columns <= limit for x in known.all)
  assert known.groups[-1].layout == (half, 8, half)


def test_long_rows_that_share_nothing_do_not_stand_behind_each_other():
  # All their columns are filled either way, and see fewer.
  tokens = np.random.default_rng(0).integers(3, 500, (8, 2048))
  mask = np.arange(2048)[None] >= np.full((8, 1), 16)
  known = shapes.make(2048, 8, 8192, 1, chosen=2032)
  assert {shape for _, shape in split.split(tokens, mask, known)} == {
    known.rows
  }


def test_thousands_of_rows_are_put_together_with_little_waste():
  # Prompts of 32 tokens and log-normal completions.
  rng = np.random.default_rng(0)
  rows, length, prompt = 2048, 96, 32
  tokens = rng.integers(3, 500, (rows, length))
  tokens[:, :prompt] = np.repeat(tokens[::8, :prompt], 8, axis=0)
  ends = prompt + 2 + rng.lognormal(np.log(16), 1, (rows, 1)).astype(int)
  index = np.arange(length)[None]
  mask = (index >= prompt) & (index < ends)
  known = shapes.make(length, rows, 2048, 1, chosen=64)
  order = walk.walk(tokens, mask)
  assert known.tree is not None
  packs, left = places.place(order, known.tree)
  assert not left
  least = (order.need - order.shared).sum()
  assert sum(each.fill for each in packs) < 1.25 * least


def test_edges_of_a_tree_come_to_its_distinct_tokens():
  # A row an edge: 4 + 6 tokens, then 6 below each of two, then 2 below each.
  rng = np.random.default_rng(0)
  tokens, mask = np.zeros((6, 26), int), np.zeros((6, 26), bool)
  edge = lambda size: rng.integers(3, 500, size)
  root = edge(10)
  first = [np.append(root, edge(6)) for _ in range(2)]
  below = [np.append(row, edge(6)) for row in first for _ in range(2)]
  for row, path in enumerate([*first, *below]):
    tokens[row, : len(path)] = path
    mask[row, len(path) - 6 : len(path)] = True
  known = shapes.make(26, 6, 0, 1)
  micro = split.split(tokens, mask, known)
  check(tokens, mask, known)
  # Each leaf's last token predicts nothing.
  assert sum((view.segments > 0).sum() for view, _ in micro) == (
    10 + 2 * 6 + 4 * 5
  )


def test_a_token_chosen_on_several_paths_is_predicted_once():
  tokens = np.array([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6], [1, 2, 3, 4, 5]])
  mask = np.ones_like(tokens, bool)
  known = shapes.make(5, 3, 0, 1)
  [(view, shape)] = split.split(tokens, mask, known)
  check(tokens, mask, known)
  slot = view.slot.reshape(-1, 5)[:3]
  assert len({tuple(x) for x in slot[:, 1:4]}) == 1
  assert (slot[:, 0] == shape.targets).all()


def test_short_rows_go_behind_each_other():
  # Lengths of a heavy tail: the longest is many times the median.
  rng = np.random.default_rng(0)
  lengths = np.minimum(rng.lognormal(np.log(48), 1, 64).astype(int) + 2, 512)
  tokens = rng.integers(3, 500, (64, 512))
  mask = np.arange(512)[None] < lengths[:, None]
  known = shapes.make(512, 64, 2048, 1)
  micro = split.split(tokens, mask, known)
  check(tokens, mask, known)
  assert columns(micro) < 1.25 * (lengths - 1).sum() + 2048


def test_a_row_with_more_chosen_tokens_than_was_said_is_refused():
  tokens, mask = group(4, 8, 2)
  known = shapes.make(12, 2, 0, 1, prompt=4, group=2, chosen=6)
  with pytest.raises(ValueError, match="row 0 .* 8 chosen .* max_chosen=6"):
    split.split(tokens, mask, known)


def test_nothing_chosen_is_no_micro_batch():
  tokens, mask = group(4, 8, 2)
  assert split.split(tokens, mask & False, shapes.make(12, 2, 0, 1)) == []


def test_a_walk_tells_what_rows_share():
  tokens = np.array([[5, 1, 2, 3], [1, 1, 2, 3], [5, 1, 2, 4], [5, 2, 0, 0]])
  mask = np.zeros((4, 4), bool)
  mask[[0, 1, 2, 3], [3, 3, 3, 2]] = True
  found = walk.walk(tokens, mask)
  assert found.rows.tolist() == [1, 0, 2, 3]
  assert found.need.tolist() == [3, 3, 3, 2]
  assert found.shared.tolist() == [0, 0, 3, 1]
