"""The scripts around the command."""

import json

from launch import seeds


def write(path, success):
  path.mkdir(parents=True)
  found = {
    "eval/success_before": 0.25,
    "eval/success": success,
    "eval/success_interval": [0.5, 1.0],
    "wall_s": 60.0,
  }
  (path / "summary.json").write_text(json.dumps(found))


def test_runs_that_are_done_are_read_into_one_table(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  write(tmp_path / "runs/quickstart-seed0", 0.9)
  write(tmp_path / "runs/quickstart-seed1", 0.7)
  for seed in (0, 1):
    write(tmp_path / f"runs/quickstart-spo-tree-seed{seed}", 0.6)
  names = ["quickstart", "quickstart:spo_tree"]
  assert seeds.main([*names, "--seeds", "0", "1"]) == 0
  shown = capsys.readouterr().out
  assert "0.900" in shown
  assert "0.700" in shown
  assert "0.800" in shown  # Their mean.
  assert shown.count("0.600") == 3


def test_without_seeds_it_says_how():
  assert seeds.main(["quickstart"]) == 2
