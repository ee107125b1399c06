"""The bench of environments on the device: the same tokens both ways."""

import json

import pytest

from rlx.bench import device
from rlx.commands import bench
from rlx.envs import frozen_lake


def test_it_says_what_both_ways_take_and_that_they_are_the_same():
  found = device.run(
    ("small",),
    (2,),
    task=frozen_lake.FrozenLake(size=2, turns=1, held_out=1),
    num_prompts=2,
    repeats=2,
  )
  found = json.loads(json.dumps(found))
  (case,) = found["batches"]
  assert case["same_tokens"]
  assert case["most_apart"] < 1e-5
  assert case["rows"] == 4
  assert found["environment"]["same_rewards"]
  for one in (case, found["environment"]):
    assert one["ratio"] > 0
    assert one["cpu_ratio"] > 0
    assert all(len(one[f"{way}_s"]) == 2 for way in ("host", "device"))


def test_what_cannot_be_measured_is_refused():
  with pytest.raises(ValueError, match="--repeats=0: must be 1 or more"):
    bench.main(["device", "--repeats", "0"])
