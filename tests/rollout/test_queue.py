"""Continuous batching as a schedule: who works on what, and for how long."""

import functools

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from rlx.rollout import queue

JOBS = 12

admit, advance = jax.jit(queue.admit), jax.jit(queue.advance)
admissible = jax.jit(queue.admissible, static_argnums=1)
running = jax.jit(queue.running, static_argnums=1)


def simulate(num_slots, budget, ends, check_every):
  """Works off the queue with a model that ends job j after `ends[j]` tokens.

  Returns the slots' jobs at every token ([T, S], -1 where idle), the jobs that
  had left the queue by then [T], and (job, slot) in the order of admission.
  """
  now, seen, left, admissions = queue.empty(num_slots, JOBS), [], [], []
  while running(now, JOBS):
    while admissible(now, JOBS):
      now, slot = admit(now, budget)
      admissions.append((int(now.job[slot]), int(slot)))
    while np.any(now.live) and not admissible(now, JOBS):
      for _ in range(check_every):
        job = np.minimum(now.job, JOBS - 1)
        seen.append(np.where(now.live, now.job, -1))
        left.append(int(now.admitted))
        now = advance(
          now, np.asarray(now.written) + 1 >= ends[job], budget[job]
        )
        assert np.asarray(now.written)[~np.asarray(now.live)].sum() == 0
    assert len(seen) <= check_every * (budget.sum() + JOBS)
  return np.array(seen).reshape(-1, num_slots), np.array(left), admissions


lengths = st.lists(st.integers(0, 9), min_size=JOBS, max_size=JOBS)


@hypothesis.settings(
  max_examples=25, deadline=None, database=None, derandomize=True
)
@hypothesis.given(
  num_slots=st.sampled_from([1, 4, 16]),
  budget=lengths,
  ends=lengths,
  check_every=st.sampled_from([1, 3]),
)
def test_every_job_runs_once_in_order_and_no_slot_idles_while_one_waits(
  num_slots, budget, ends, check_every
):
  budget, ends = np.array(budget, np.int32), np.array(ends, np.int32)
  seen, left, admissions = simulate(num_slots, budget, ends, check_every)
  assert [job for job, _ in admissions] == list(range(JOBS))
  # A job that has begun writes one token at least.
  want = np.where(budget > 0, np.minimum(budget, np.maximum(ends, 1)), 0)
  slots = dict(admissions)
  for job in range(JOBS):
    at, slot = np.nonzero(seen == job)
    assert len(at) == want[job]
    assert {*slot.tolist()} <= {slots[job]}
    assert not len(at) or at[-1] - at[0] + 1 == len(at)
  for slot in range(num_slots):
    idle = (seen[:, slot] < 0) & (left < JOBS)
    runs = "".join("x" if x else " " for x in idle).split()
    assert all(len(run) <= check_every - 1 for run in runs)


@pytest.mark.parametrize("num_slots", [1, 4, 16])
def test_a_free_slot_is_the_first_one_and_a_full_house_admits_nobody(num_slots):
  budget = np.full(JOBS, 2, np.int32)
  now, taken = queue.empty(num_slots, JOBS), []
  while admissible(now, JOBS):
    now, slot = admit(now, budget)
    taken.append(int(slot))
  assert taken == list(range(min(num_slots, JOBS)))
  assert now.job.tolist()[:JOBS] == taken + [JOBS] * (
    min(num_slots, JOBS) - len(taken)
  )
  assert bool(running(now, JOBS))


def test_live_slots_are_kept_where_fewer_go_on():
  budget = np.array([1, 3, 1, 3], np.int32)
  now = queue.empty(4, 4)
  for _ in range(4):
    assert not queue.dwindled(now, 4, 2)
    now, _ = admit(now, budget)
  assert not queue.dwindled(now, 4, 2)
  now = advance(now, np.zeros(4, bool), budget)
  assert queue.dwindled(now, 4, 2)
  kept, which = queue.keep(now, 3)
  assert which.tolist() == [1, 3, 0]
  assert kept.job.tolist() == [1, 3, 0]
  assert kept.live.tolist() == [True, True, False]
  assert kept.written.tolist() == [1, 1, 0]


def test_the_longest_slot_is_a_live_one():
  budget = np.array([1, 5, 5], np.int32)
  now = queue.empty(2, 3)
  for _ in range(2):
    now, _ = admit(now, budget)
  step = functools.partial(advance, ended=np.zeros(2, bool))
  now = step(now, budget=budget[np.asarray(now.job)])
  assert now.live.tolist() == [False, True]
  assert now.written.tolist() == [0, 1]
  assert int(queue.longest(now)) == 1
  now, slot = admit(now, budget)
  assert (int(slot), int(now.job[0])) == (0, 2)
