"""`rlx bench rollout`: what is compared is the same, and bytes are counted."""

import dataclasses
import json

import numpy as np
import pytest

from rlx.bench import (
  rollout,
  rollout_clock,
  rollout_limit,
  rollout_tail,
  workloads,
)
from tests import tiny

MODEL = dataclasses.replace(tiny.DECODER, vocab_size=260, num_layers=1)


@pytest.fixture(scope="module")
def found():
  """All three parts, of workloads of a few tokens."""
  single = dataclasses.replace(
    workloads.GRPO,
    model=MODEL,
    num_prompts=2,
    group_size=2,
    prompt_tokens=4,
    new_tokens=3,
  )
  tail = rollout_tail.Workload(
    sequences=6, slots=2, median=3, most=8, prompt_tokens=2, model=MODEL
  )
  limit = rollout_limit.Workload(
    model=MODEL, rows=(1, 2), prompt_tokens=4, new_tokens=3
  )
  return rollout.run(single=single, tail=tail, limit=[limit], repeats=1)


def test_all_ways_write_the_same_sequences(found):
  tail = found["tail"]
  assert tail["same_tokens"]
  assert tail["log_probs_apart"] < 1e-5
  assert tail["ratio"]["median"] > 0
  assert tail["new_tokens"] >= 6


def test_what_is_measured_is_json_and_positive(found):
  assert json.loads(json.dumps(found))["bench"] == "rollout"
  assert found["single"]["new_tokens"] == 12
  assert found["single"]["sample"]["tokens_per_s"] > 0
  assert [case["rows"] for case in found["limit"]["cases"]] == [1, 2]
  assert all(case["of_measured"] > 0 for case in found["limit"]["cases"])


def test_lengths_are_log_normal_with_the_given_median():
  workload = rollout_tail.Workload(sequences=20_000)
  drawn = rollout_tail.budgets(workload)
  assert abs(np.median(drawn) - 48) <= 1
  assert drawn.max() == 512
  assert drawn.min() >= 1
  assert abs(np.std(np.log(drawn)) - 1) < 0.05


@pytest.mark.parametrize("tied", [True, False])
def test_the_bytes_of_a_step_are_parameters_and_what_rows_see(tied):
  model = dataclasses.replace(MODEL, tied_embeddings=tied, dtype="bfloat16")
  workload = rollout_limit.Workload(model=model, prompt_tokens=4, new_tokens=3)
  found = rollout_limit.step_bytes(workload, 5)
  c = model
  width = c.head_dim * (c.num_heads + 2 * c.num_kv_heads)
  layer = c.embed_dim * (width + c.num_heads * c.head_dim + 3 * c.mlp_dim)
  layer += 2 * c.embed_dim + 2 * c.head_dim * c.qk_norm
  embed = c.embed_dim * c.vocab_size
  num = embed + layer + c.embed_dim + (0 if tied else 5 * c.embed_dim)
  assert found["parameter_bytes"] == 2 * num
  # Keys and values of 2 heads of 8, in 2 bytes; of 4 and of 1, 2, 3 tokens.
  assert found["kv_written_bytes"] == 5 * 2 * 2 * 8 * 2
  assert found["kv_read_bytes"] == 5 * 2 * 2 * 8 * 2 * (4 + 2)


def test_the_real_sizes_have_the_parameters_of_their_names():
  for model, want in (
    (rollout_limit.SMALL, 0.596e9),
    (rollout_limit.LARGE, 7.57e9),
  ):
    # The same parameters, stacked: quicker to trace.
    model = dataclasses.replace(model, layers="scan")
    workload = rollout_limit.Workload(model=model)
    # Of the larger, the table that is only looked up in is not read.
    found = rollout_limit.step_bytes(workload, 1)["parameter_bytes"] / 2
    assert abs(found / want - 1) < 0.01


def test_ratios_are_of_medians_and_of_the_fastest():
  calls = lambda *seconds: [{"s": x, "cpu_s": 2 * x} for x in seconds]
  spent = {"slow": calls(6.0, 9.0, 8.0), "fast": calls(1.0, 4.0, 2.0)}
  assert rollout_clock.ratio(spent, "slow", "fast") == {
    "median": 4,
    "fastest": 6,
    "cpu": 4,
  }
