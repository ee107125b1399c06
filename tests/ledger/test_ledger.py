"""The ledger: what is stored is what is computed, and what must be shown."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from rlx import credit, objective, recipes
from rlx.ledger import compute, report, stored


@pytest.fixture(scope="module")
def fresh():
  return compute.ledger(recipes.ALL)


@pytest.fixture(scope="module")
def entries(fresh):
  return {entry["name"]: entry for entry in fresh["entries"]}


def test_the_stored_ledger_equals_a_fresh_one(fresh):
  old, new = stored.ledger(), json.loads(report.to_json(fresh))
  advice = "run `rlx credit ledger --save` and read what changed"
  assert {**old, "entries": ()} == {**new, "entries": ()}, advice
  names = lambda ledger: [entry["name"] for entry in ledger["entries"]]
  assert names(old) == names(new), advice
  for was, now in zip(old["entries"], new["entries"], strict=True):
    check_same(was, now, f"{now['name']}: {advice}")


def check_same(was, now, advice):
  """Words are equal, and numbers to one in a million."""
  if isinstance(now, dict):
    assert was.keys() == now.keys(), advice
    for key in now:
      check_same(was[key], now[key], advice)
  elif isinstance(now, list):
    assert len(was) == len(now), advice
    for one, other in zip(was, now, strict=True):
      check_same(one, other, advice)
  elif isinstance(now, float):
    assert was == pytest.approx(now, abs=2e-6), advice
  else:
    assert was == now, advice


def test_the_stored_document_is_the_stored_ledger():
  assert stored.README.read_text() == report.to_markdown(stored.ledger())


def test_the_evidence_of_every_recipe_is_known(fresh):
  unknown = [e["unknown"] for e in fresh["entries"] if "unknown" in e]
  assert not unknown, f"extend rlx/ledger/evidence.py: {unknown}"


@pytest.mark.parametrize(
  "name", ["reinforce", "rloo", "mean_of_others", "exact_critic"]
)
def test_credit_that_ought_to_be_unbiased_is(entries, name):
  assert entries[name]["credit"]["bias"] == "unbiased"
  np.testing.assert_allclose(entries[name]["credit"]["factors"], 1, rtol=1e-9)


@pytest.mark.parametrize("name", ["dr_grpo", "mean_with_self"])
def test_a_mean_that_includes_oneself_scales(entries, fresh, name):
  found = entries[name]["credit"]
  assert (found["bias"], found["factor"]) == ("scaled", "(G-1)/G")
  size = np.array([int(case.rsplit("/")[-1]) for case in fresh["cases"]])
  np.testing.assert_allclose(found["factors"], (size - 1) / size, rtol=1e-9)


def test_comparing_rewards_of_equal_turns_sees_no_decision_to_stop(entries):
  found = entries["index_centred"]["credit"]
  assert found["vanishes"] == ["stop_or_continue"]
  assert found["bias"] == "biased"


def test_dividing_by_the_spread_levels_stakes(entries):
  found = entries["divided_by_spread"]["credit"]
  assert found["worst"] == "stakes/even/2 at little"
  # Of stakes of 1 and 0.1 it makes equal ones.
  apart = np.degrees(np.arccos(1.1 / np.sqrt(2 * 1.01)))
  assert found["angle"] == pytest.approx(apart, abs=1e-2)


def test_whitening_turns_less_in_larger_batches(entries, fresh):
  angle = dict(
    zip(fresh["cases"], entries["whitened"]["credit"]["angles"], strict=True)
  )
  assert angle["tree/even/2"] == pytest.approx(40.7, abs=0.1)
  assert angle["tree/even/3"] == pytest.approx(27.7, abs=0.1)


def test_finer_groups_turn_the_gradient_more(entries):
  by = lambda name: entries[name]["credit"]["angle"]
  assert by("mean_with_self") < by("index_centred_returns")
  assert by("index_centred_returns") < by("state_centred_returns")


def test_leaving_out_groups_that_agree_does_not_turn(entries):
  found = entries["groups_that_differ"]["credit"]
  assert (found["bias"], found["angle"]) == ("scaled", 0)


def test_lengths_bias_the_loss_and_not_the_credit(entries):
  for name in ("mean_over_tokens", "mean_over_each_answer"):
    assert entries[name]["credit"]["bias"] == "unbiased"
    assert entries[name]["objective"]["worst"].startswith("tokens")
  assert entries["mean_of_others"]["objective"]["bias"] == "unbiased"


def test_a_tree_counts_late_decisions_more(entries, fresh):
  found = entries["every_edge_of_a_tree"]["credit"]
  of = lambda name: [
    factor
    for factor, case in zip(found["factors"], fresh["cases"], strict=True)
    if case.startswith(name)
  ]
  np.testing.assert_allclose(of("difficulty"), 1, rtol=1e-9)
  assert all(factor > 1.05 for factor in of("tree"))


def test_a_tree_of_depth_one_is_a_group(entries, fresh):
  tree, group = (entries[name]["credit"] for name in ("spo_tree", "dr_grpo"))
  for case, one, other in zip(
    fresh["cases"], tree["factors"], group["factors"], strict=True
  ):
    if case.startswith(("difficulty", "stakes")):
      assert one == pytest.approx(other, abs=1e-9)


def test_both_parts_of_a_sum_see_the_decision_to_stop():
  def gigpo() -> recipes.Recipe:
    return recipes.gigpo(discount=1.0, scale=False)

  found = compute.ledger([gigpo], with_parts=False)
  factor = dict(
    zip(found["cases"], found["entries"][0]["credit"]["factors"], strict=True)
  )
  for policy in ("even", "tilted"):
    case = f"stop_or_continue/{policy}"
    assert factor[f"{case}/2"] == pytest.approx(2 / 2, abs=1e-9)
    assert factor[f"{case}/3"] == pytest.approx(2 * 2 / 3, abs=1e-9)


def test_evidence_that_is_not_known_is_said_to_be():
  def mystery() -> recipes.Recipe:
    return recipes.Recipe(
      name="mystery",
      credit=credit.evidence("tarot"),
      objective=objective.reinforce(objective.Terms()),
      evidence=("tarot",),
    )

  def secretive() -> recipes.Recipe:
    return recipes.Recipe(
      name="secretive",
      credit=credit.evidence("tarot"),
      objective=objective.reinforce(objective.Terms()),
    )

  found = compute.ledger([mystery, secretive], with_parts=False)["entries"]
  for entry in found:
    assert "unknown evidence" in entry["unknown"]
    assert "tarot" in entry["unknown"]
  assert report.row(found[0])[1] == "unknown"
  assert "mystery" in report.to_markdown({**stored.ledger(), "entries": found})


def test_the_rest_of_the_process_stays_in_float32(fresh):
  assert jnp.zeros(1).dtype == jnp.float32


def test_the_bias_of_a_recipe_is_known_without_computing():
  assert stored.bias("rloo") == "unbiased"
  assert stored.bias("dr_grpo") == "scaled"
  assert stored.bias("grpo") == "biased"
  assert stored.bias("mean_of_others") == "unknown"  # A part, not a recipe.
