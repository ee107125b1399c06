"""Buffers: nothing is lost, nothing is owned twice, ages are right."""

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies

from rlx.rollout import buffers
from tests import tiny

LIKE = {"number": np.zeros((), np.int32), "row": np.zeros(2, np.float32)}


def item(number):
  return {"number": np.asarray(number), "row": np.full(2, number)}


def numbers(buffer, key):
  return buffer.items["number"][buffers.find(buffer, key)].tolist()


def test_the_oldest_of_a_key_leaves_where_it_has_its_share():
  buffer = buffers.empty(6, LIKE)
  entries = [(1, item(n)) for n in range(4)] + [(2, item(9))]
  new = buffers.put(buffer, entries, per_key=3)
  assert numbers(new, 1) == [1, 2, 3]
  assert numbers(new, 2) == [9]
  assert numbers(buffer, 1) == []
  assert numbers(new, 7) == []


def test_the_oldest_of_all_leaves_where_there_is_no_slot():
  entries = [(n, item(n)) for n in range(5)]
  buffer = buffers.put(buffers.empty(3, LIKE), entries, per_key=1)
  kept = [n for n in range(5) if numbers(buffer, n)]
  assert kept == [2, 3, 4]


def test_the_latest_success_takes_the_place_of_the_one_before():
  buffer = buffers.put(buffers.empty(3, LIKE), [(4, item(1))], per_key=1)
  buffer = buffers.put(buffers.tick(buffer), [(4, item(2))], per_key=1)
  assert numbers(buffer, 4) == [2]
  assert buffers.ages(buffer).tolist() == [0, -1, -1]


def test_edges_grow_old_and_leave():
  buffer = buffers.put(buffers.empty(4, LIKE), [(1, item(0))])
  for age in range(1, 9):
    buffer = buffers.tick(buffer, max_age=8)
    assert buffers.ages(buffer)[0] == age
  assert numbers(buffers.tick(buffer, max_age=8), 1) == []


def test_edges_that_are_used_leave():
  entries = [(1, item(n)) for n in range(5)] + [(2, item(9))]
  buffer = buffers.put(buffers.empty(8, LIKE), entries)
  drawn, rest = buffers.draw(buffer, 1, 3, seed=0)
  got = [int(x["number"]) for x in drawn]
  assert len(got) == 3
  assert sorted(got + numbers(rest, 1)) == list(range(5))
  assert numbers(rest, 2) == [9]
  again, _ = buffers.draw(buffer, 1, 3, seed=0)
  assert got == [int(x["number"]) for x in again]
  all_, none = buffers.draw(rest, 1, 32, seed=1)
  assert len(all_) == 2
  assert numbers(none, 1) == []


STEPS = strategies.lists(
  strategies.one_of(
    strategies.tuples(strategies.just("put"), strategies.integers(0, 3)),
    strategies.tuples(strategies.just("draw"), strategies.integers(0, 3)),
    strategies.just(("tick", 0)),
  ),
  max_size=40,
)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(STEPS, strategies.sampled_from([None, 1, 2]))
def test_a_buffer_is_a_list_of_entries(steps, per_key):
  """Against a plain list: the same entries, in the same order, as old."""
  buffer, model, clock = buffers.empty(5, LIKE), [], 0
  for number, (what, key) in enumerate(steps):
    if what == "put":
      buffer = buffers.put(buffer, [(key, item(number))], per_key=per_key)
      own = [entry for entry in model if entry[0] == key]
      if per_key is not None and len(own) >= per_key:
        model.remove(own[0])
      elif len(model) == 5:
        model.pop(0)
      model.append((key, number, clock))
    elif what == "draw":
      drawn, buffer = buffers.draw(buffer, key, 2, seed=number)
      got = {int(x["number"]) for x in drawn}
      own = [entry for entry in model if entry[0] == key]
      assert len(got) == min(2, len(own))
      assert got <= {entry[1] for entry in own}
      model = [entry for entry in model if entry[1] not in got]
    else:
      clock += 1
      buffer = buffers.tick(buffer, max_age=3)
      model = [entry for entry in model if clock - entry[2] <= 3]
    for k in range(4):
      assert numbers(buffer, k) == [n for own, n, _ in model if own == k]
    ages = buffers.ages(buffer)
    assert sorted(ages[ages >= 0]) == sorted(clock - t for *_, t in model)


def test_a_buffer_is_a_pytree_of_fixed_shapes():
  buffer = buffers.empty(3, LIKE)
  new = buffers.tick(buffers.put(buffer, [(1, item(1))]))
  shapes = lambda x: jax.tree.map(lambda y: (y.shape, y.dtype), x)
  assert shapes(new) == shapes(buffer)
  assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(new))


def test_prompts_are_told_by_their_tokens():
  log = tiny.batch(rows=4, length=32)
  log.tokens[1, :4] = log.tokens[0, :4]
  log.drop(3)
  keys = buffers.prompt_keys(log)
  assert keys[0] == keys[1] != keys[2]
  assert keys[3] == buffers.EMPTY


def test_what_does_not_fit_is_refused():
  buffer = buffers.empty(2, LIKE)
  with pytest.raises(ValueError, match="negative"):
    buffers.put(buffer, [(-1, item(1))])
  with pytest.raises(ValueError, match="row has the shape"):
    buffers.put(buffer, [(1, {"number": np.asarray(1)})])
  with pytest.raises(ValueError, match="no \\['other'\\]"):
    buffers.put(buffer, [(1, item(1) | {"other": np.zeros(1)})])
  with pytest.raises(ValueError, match="capacity=0"):
    buffers.empty(0, LIKE)
