"""`rlx recipes`: what it says of a method, and of one that there is not."""

import json

import pytest

from rlx import cli, recipes
from rlx.commands import recipes as command
from rlx.recipes import filled


def test_who_fills_a_column_is_known_of_every_recipe():
  who = {f.__name__: filled.by(f()) for f in recipes.ALL}
  assert all(who[f.__name__].keys() == {*f().evidence} for f in recipes.ALL)
  assert who["gigpo"]["state"] == "the rollout, of info['state_key']"
  assert who["srgpo"] == {"process": "the task"}
  assert set(who["spo_chain"].values()) == {"its plan"}
  assert who["spa_rl"] == {
    "progress": "its second learner",
    "grounded": "the task",
    "value": "the value function",
  }


def test_a_method_is_told_with_its_defaults_and_who_fills_its_columns(capsys):
  assert command.main(["spo-chain"]) == 0
  told = capsys.readouterr().out
  assert "'value_before' is filled by its plan" in told
  assert "plays more than the samples" in told
  assert "--recipe.continuations  9" in told
  assert "--recipe.terms.*" in told


def test_the_json_says_who_fills_what(capsys):
  assert command.main(["sharp", "--json"]) == 0
  (found,) = json.loads(capsys.readouterr().out)
  assert found["filled_by"]["tool"] == "the task"


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--jsn"], "unknown argument '--jsn'"),
    (["gipgo"], r"nearest: gigpo, gpg \(`rlx recipes` lists all \d+\)$"),
  ],
)
def test_what_there_is_not_is_told_in_short(arguments, message):
  with pytest.raises(ValueError, match=message):
    command.main(arguments)


@pytest.mark.parametrize(
  "arguments",
  ["recipes gigpo", "bench credit", "credit ledger --json", "credit fidelity"],
)
def test_help_may_be_asked_for_anywhere(arguments, capsys):
  assert cli.run([*arguments.split(), "--help"]) == 0
  assert "usage: rlx" in capsys.readouterr().out
