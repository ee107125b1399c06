"""The bench of training on a group: both kinds learn the same."""

import json

import pytest

from rlx.bench import rollout_peaks, train, train_flops, workloads
from rlx.commands import bench
from tests import tiny


def test_a_group_is_learnt_from_with_its_prompt_once(monkeypatch, capsys):
  workload = train.Workload(
    prompt_tokens=40, new_tokens=8, group=4, repeats=1, model=tiny.DECODER
  )
  found = json.loads(json.dumps(train.run(workload)))
  assert found["gradient_gap"] <= 1e-5
  assert found["unshared_tokens"] == 4 * 48
  # Seven columns of each completion predict its eight tokens.
  assert found["shared_tokens"] == 40 + 4 * 7
  assert found["ratio_min"] > 0
  assert len(found["shared_s"]) == len(found["unshared_s"]) == 1
  monkeypatch.setattr(train, "run", lambda workload: found)
  assert bench.main(["train", "--steps", "1"]) == 0
  assert "once a group" in capsys.readouterr().out


def test_a_long_row_is_beside_what_the_machine_can_do(monkeypatch, capsys):
  workload = train_flops.Workload(
    length=40, prompt_tokens=8, repeats=1, model=tiny.DECODER, product=16
  )
  found = json.loads(json.dumps(train_flops.run(workload)))
  assert found["flops_peak"] is None
  assert found["mfu"] == found["of_measured"] > 0
  assert len(found["update_s"]) == 1
  monkeypatch.setattr(train_flops, "run", lambda workload: found)
  assert bench.main(["train", "--length", "2048", "--steps", "1"]) == 0
  assert "model FLOPs utilisation" in capsys.readouterr().out
  with pytest.raises(ValueError, match="--length=3: must be 32 or more"):
    bench.main(["train", "--length", "3"])


def test_the_work_of_an_update_is_six_a_parameter_and_token_and_attention():
  model = workloads.MODEL
  flops = train_flops.model_flops(
    train_flops.Workload(length=4, prompt_tokens=2, rows=2)
  )
  embed, heads, kv = model.embed_dim, 8 * 32, 4 * 32
  layer = embed * (2 * heads + 2 * kv + 3 * model.mlp_dim)
  # Scales of the norms are parameters too.
  scales = 4 * (2 * embed + 2 * model.head_dim) + embed
  assert flops["flops_body"] == 2 * 6 * (4 * layer + scales) * 3
  assert flops["flops_head"] == 2 * 6 * 512 * embed * 2
  # A token sees itself and those before it: 1 + 2 + 3.
  assert flops["flops_attention"] == 2 * 3 * 4 * (2 * 2 * heads) * 6


def test_a_published_bandwidth_has_a_published_speed():
  assert rollout_peaks.FLOPS_PER_S.keys() == rollout_peaks.BYTES_PER_S.keys()
