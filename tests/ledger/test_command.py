"""`rlx credit`: what it prints, writes and refuses."""

import json
import sys

import pytest

from rlx.commands import credit, credit_ledger
from rlx.ledger import figure, stored


def test_without_a_command_it_says_which_there_are(capsys):
  assert credit.main([]) == 0
  told = capsys.readouterr().out
  assert "ledger" in told
  assert "fidelity" in told


def test_a_command_that_there_is_not_is_an_error():
  with pytest.raises(ValueError, match="nearest: ledger"):
    credit.main(["leger"])


def test_help_tells_how_the_figure_is_made(capsys):
  assert credit.main(["ledger", "--help"]) == 0
  assert "pip install matplotlib" in capsys.readouterr().out


def test_a_recipe_that_there_is_not_is_an_error():
  with pytest.raises(ValueError, match="no recipe 'grop'"):
    credit_ledger.main(["--recipe", "grop"])


def test_part_of_the_ledger_is_not_saved():
  with pytest.raises(ValueError, match="--save is for all recipes"):
    credit_ledger.main(["--recipe", "grpo", "--save"])


def test_one_recipe_as_json(capsys):
  assert credit.main(["ledger", "--recipe=rloo", "--json"]) == 0
  (entry,) = json.loads(capsys.readouterr().out)["entries"]
  assert entry["credit"]["bias"] == "unbiased"
  assert entry["credit"] == next(
    e["credit"] for e in stored.ledger()["entries"] if e["name"] == "rloo"
  )


def test_without_matplotlib_only_the_figure_is_missing(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  assert credit_ledger.main(["--recipe=rloo", "--out", str(tmp_path)]) == 0
  assert "pip install matplotlib" in capsys.readouterr().err
  assert {x.name for x in tmp_path.iterdir()} == {"ledger.json", "ledger.md"}


def test_without_matplotlib_nothing_is_saved(monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  with pytest.raises(ValueError, match="pip install matplotlib"):
    credit_ledger.main(["--save"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_the_figure_is_drawn(tmp_path):
  pytest.importorskip("matplotlib")
  figure.draw(stored.ledger(), tmp_path / "ledger.svg")
  assert "<svg" in (tmp_path / "ledger.svg").read_text()
