"""Edits of what was played, by hand and on random conversations."""

import numpy as np
import pytest

from rlx.rollout import edits, played, record, rows
from tests import tiny
from tests.rollout import scripted


def talk() -> record.Record:
  """Two rows of 3 and 2 steps; an observation between them."""
  log = record.Record.empty(
    np.array([8, 8]),
    np.array([0, 1]),
    length=14,
    turns=3,
    version=5,
    evidence=("gain",),
  )
  log.observe(np.arange(2), [[2, 3], [2, 3]])
  _act(log, [0, 1], [[11, 12], [21, 0]], [2, 1])
  _pay(log, 0, 1.0)
  _pay(log, 1, 4.0)
  log.observe(np.arange(2), [[4], [5, 6]])
  _act(log, [0, 1], [[13, 0], [22, 23]], [1, 2])
  _pay(log, 0, 2.0)
  _pay(log, 1, 5.0)
  log.observe(np.array([0]), [[7, 8]])
  _act(log, [0], [[14, 15]], [2])
  _pay(log, 0, 3.0)
  return log


def _act(log, at, tokens, length):
  chosen = np.array(tokens)
  guess = -chosen / 10.0
  log.act(np.array(at), chosen, guess, guess - 1, np.array(length))


def _pay(log, row, reward):
  log.pay(row, reward, f"s{reward}", f"a{reward}", "next", {"gain": -reward})


def batch(log) -> played.Played:
  n = len(log.tokens)
  return played.Played(
    record=log,
    success=np.zeros(n, bool),
    stop=["completed"] * n,
    parse_errors=np.zeros(n, np.int32),
    seconds={"sample": 1.0},
  )


def row(log, b):
  return log.tokens[b, : log.length[b]].tolist()


def equal(a, b):
  for name in record.PER_ROW:
    np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)
  for name, column in a.columns.items():
    np.testing.assert_array_equal(column, b.columns[name])


def test_steps_begin_and_end_where_they_were_written():
  log = talk()
  assert edits.starts(log, 0).tolist() == [2, 5, 8, 10]
  assert edits.ends(log, 0).tolist() == [4, 6, 10]
  assert edits.starts(log, 1).tolist() == [2, 5, 7]
  log.drop(0)
  assert edits.starts(log, 0).tolist() == [10]


def test_what_an_expert_wrote_is_context_and_not_chosen():
  log = talk()
  new = edits.replace(log, {(0, 1): [31, 32, 33]})
  assert row(new, 0) == [2, 3, 11, 12, 4, 31, 32, 33, 7, 8, 14, 15]
  assert new.mask[0, :12].tolist() == [
    *[False] * 2,
    True,
    True,
    *[False] * 6,
    True,
    True,
  ]
  assert new.segment[0, :12].tolist() == [
    -1,
    -1,
    0,
    0,
    -1,
    1,
    1,
    1,
    -1,
    -1,
    2,
    2,
  ]
  assert not new.log_probs[0, 5:8].any()
  np.testing.assert_allclose(new.log_probs[0, 10:12], [-1.4, -1.5])
  assert new.reward[0].tolist() == [1, 2, 3]
  assert row(new, 1) == row(log, 1)


def test_an_erased_step_leaves_with_what_followed_it():
  new = edits.erase(talk(), {0: [1]})
  assert row(new, 0) == [2, 3, 11, 12, 4, 14, 15]
  assert new.segment[0, :7].tolist() == [-1, -1, 0, 0, -1, 1, 1]
  assert new.reward[0].tolist() == [1, 3, 0]
  assert new.columns["gain"][0].tolist() == [-1, -3, 0]
  assert new.turns.tolist() == [2, 2]
  assert new.outcome()[0] == 4
  assert edits.erase(talk(), {0: [0, 1, 2]}).turns[0] == 0


def test_an_agent_leaves_with_all_of_its_steps():
  log = talk()
  log.columns["role"] = np.array([[0, 1, 0], [1, 0, 0]])
  new = edits.erase_role(log, 0)
  assert row(new, 0) == [2, 3, 13, 7, 8]
  # In row 1 the third entry is padding, and no step of agent 0.
  assert new.turns.tolist() == [1, 1]
  assert new.columns["role"][:, 0].tolist() == [1, 1]


def test_a_row_keeps_its_first_steps():
  new = edits.truncate(talk(), {0: 1, 1: 0})
  assert row(new, 0) == [2, 3, 11, 12]
  assert row(new, 1) == [2, 3]
  assert new.turns.tolist() == [1, 0]


def test_a_hint_is_said_by_nobody():
  new = edits.insert(talk(), {0: (2, [41, 42])})
  assert row(new, 0)[:6] == [2, 3, 41, 42, 11, 12]
  assert new.segment[0, :6].tolist() == [-1, -1, -1, -1, 0, 0]
  assert not new.mask[0, :4].any()
  behind = edits.insert(talk(), {1: (7, [43])})
  assert row(behind, 1)[-1] == 43


def test_edits_are_refused_where_there_is_nothing_to_edit():
  log = talk()
  with pytest.raises(ValueError, match="no step 2 in row 1"):
    edits.erase(log, {1: [2]})
  with pytest.raises(ValueError, match="inside of a step"):
    edits.insert(log, {0: (3, [1])})
  with pytest.raises(ValueError, match="15 tokens long .* room for 14"):
    edits.insert(log, {0: (2, [1] * 5)})
  with pytest.raises(ValueError, match="cannot keep 4"):
    edits.truncate(log, {0: 4})


def test_a_row_goes_on_differently_from_a_cut():
  log = talk()
  drawn = record.Record.empty(
    np.array([8]),
    np.array([9]),
    length=14,
    turns=2,
    version=5,
    evidence=("gain",),
  )
  drawn.observe(np.array([0]), [row(log, 0)[:5]])
  _act(drawn, [0], [[51, 52]], [2])
  _pay(drawn, 0, 7.0)
  found = rows.splice(batch(log), [(0, 5)], batch(drawn))
  new = found.record
  scripted.check(new)
  assert row(new, 0) == [2, 3, 11, 12, 4, 51, 52]
  # The kept step is the policy's own, as it was before.
  assert new.mask[0, :7].tolist() == [
    False,
    False,
    True,
    True,
    False,
    True,
    True,
  ]
  assert new.segment[0, :7].tolist() == [-1, -1, 0, 0, -1, 1, 1]
  np.testing.assert_allclose(new.log_probs[0, 5:7], [-5.1, -5.2])
  assert new.reward[0].tolist() == [1, 7, 0]
  assert new.columns["gain"][0].tolist() == [-1, -7, 0]
  assert row(new, 1) == row(log, 1)
  assert found.seconds == {"sample": 2.0}
  assert new.sample.tolist() == [0, 1]


def test_a_row_whose_environment_fails_after_the_cut_is_dropped():
  log = talk()
  other = batch(edits.truncate(log, {0: 0, 1: 0}))
  other = other._replace(stop=["environment_error"] * 2)
  found = rows.splice(batch(log), [(0, 2)], played.select(other, np.array([0])))
  assert found.record.turns.tolist() == [0, 2]
  assert not found.record.mask[0].any()


def test_a_cut_inside_of_a_step_or_twice_is_refused():
  found = batch(talk())
  with pytest.raises(ValueError, match="inside of a step"):
    rows.splice(found, [(0, 3)], played.select(found, np.array([0])))
  with pytest.raises(ValueError, match="continued twice"):
    rows.splice(found, [(0, 2), (0, 2)], found)


@pytest.mark.parametrize("seed", range(8))
def test_edits_of_random_conversations_copy_and_keep_what_holds(seed):
  log = tiny.batch(rows=8, length=48, seed=seed)
  before = edits.copy(log)
  rng = np.random.default_rng(seed)
  every = [(b, t) for b in range(8) for t in range(int(log.turns[b]))]
  some = [every[i] for i in rng.permutation(len(every))[:5]]
  erased: dict[int, list[int]] = {}
  for b, t in some:
    erased.setdefault(b, []).append(t)
  swapped = {(b, t): [3] * int(rng.integers(1, 3)) for b, t in some}
  for new in (
    edits.replace(log, swapped),
    edits.erase(log, erased),
    edits.truncate(log, {b: t for b, t in some}),
    edits.insert(log, {b: (4, [5]) for b, _ in some}),
  ):
    scripted.check(new)
    equal(log, before)
    untouched = [b for b in range(8) if b not in erased]
    for name in record.PER_ROW:
      np.testing.assert_array_equal(
        getattr(new, name)[untouched], getattr(log, name)[untouched]
      )
  gone = edits.erase(log, erased)
  assert gone.turns.sum() == log.turns.sum() - len(set(some))
  same = edits.replace(edits.erase(log, {}), {})
  equal(same, log)


def test_a_log_prob_travels_with_its_token():
  log = tiny.batch(rows=4, length=48, seed=3)
  log.log_probs[:] = np.where(log.mask, -1 - log.tokens, 0)
  new = edits.erase(log, {b: [0] for b in range(4)})
  chosen = new.mask
  np.testing.assert_array_equal(new.log_probs[chosen], -1 - new.tokens[chosen])
