"""The bench of training on a group: both kinds learn the same."""

import json

from rlx.bench import train
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
