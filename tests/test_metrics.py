"""Metrics add exactly, and their file survives a kill."""

import json
import math
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlx import metrics, tracking

VALUES = jnp.array([1.0, 2.0, 3.0, jnp.nan, 5.0])
MASK = jnp.array([True, True, False, False, True])


def example(values, mask):
  return {
    "mean": metrics.mean(values, mask),
    "max": metrics.maximum(values, mask),
    "min": metrics.minimum(values, mask),
  }


@pytest.fixture
def lines(tmp_path):
  """A run directory with lines of steps 0..4, and what is in them."""
  with metrics.Writer(tmp_path, tensorboard=False) as writer:
    for step in range(5):
      writer.write(step, {"reward": step / 2, "step_time": 0.1})
  return metrics.read(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize("split", [1, 2, 3, 4])
def test_micro_batches_add_to_the_whole(split):
  whole = example(VALUES, MASK)
  parts = [
    example(v, m)
    for v, m in [
      (VALUES[:split], MASK[:split]),
      (VALUES[split:], MASK[split:]),
    ]
  ]
  got = metrics.fetch(metrics.add(*parts))
  assert got == metrics.fetch(whole)
  assert got == {"mean": 8 / 3, "max": 5, "min": 1} | {
    "mean": pytest.approx(8 / 3)
  }


def test_scanned_metrics_collapse_to_their_sum():
  values, mask = VALUES[:4].reshape(2, 2), MASK[:4].reshape(2, 2)

  @jax.jit
  def scanned():
    return jax.lax.scan(lambda c, x: (c, example(*x)), 0, (values, mask))[1]

  got = metrics.fetch(metrics.collapse(scanned()))
  assert got == metrics.fetch(example(VALUES[:4], MASK[:4]))


def test_adding_nothing_changes_nothing():
  tree = example(VALUES, MASK)
  shape = jax.eval_shape(lambda: tree)
  got = metrics.add(metrics.empty(shape), tree)
  assert metrics.fetch(got) == metrics.fetch(tree)


def test_a_tree_of_metrics_can_be_mapped_to_anything():
  tree = example(VALUES, MASK)
  assert jax.tree.leaves(jax.tree.map(lambda _: None, tree)) == []
  assert set(jax.tree.leaves(jax.tree.map(lambda _: "x", tree))) == {"x"}


def test_a_mean_may_have_weights():
  m = metrics.mean(jnp.array([1.0, 3.0]), jnp.array([0.1, 0.3]))
  assert float(m.compute()) == pytest.approx(2.5)


def test_an_empty_mean_is_zero_with_zero_gradient_and_fetched_as_nan():
  nothing = jnp.zeros(5, bool)
  f = lambda x: metrics.mean(x, nothing).compute()
  value, gradient = jax.value_and_grad(f)(VALUES)
  assert value == 0
  assert not gradient.any()
  fetched = metrics.fetch(example(VALUES, nothing))
  assert math.isnan(fetched["mean"])
  assert math.isnan(fetched["max"])
  assert math.isnan(fetched["min"])


def test_metrics_of_two_kinds_do_not_add():
  a, b = metrics.mean(VALUES, MASK), metrics.maximum(VALUES, MASK)
  with pytest.raises(ValueError, match="cannot add Mean and Max"):
    metrics.add({"x": a}, {"x": b})


def test_fetched_numbers_are_plain_and_short():
  got = metrics.fetch(
    {"a": jnp.float32(0.1), "b": 3, "c": np.float64(0.1), "d": jnp.int32(7)}
  )
  assert got == {"a": 0.1, "b": 3, "c": 0.1, "d": 7}
  assert {type(v) for v in got.values()} == {int, float}
  with pytest.raises(ValueError, match=r"shape \(2,\)"):
    metrics.fetch({"a": jnp.zeros(2)})


def test_what_is_not_finite_is_null_and_the_line_is_strict_json(tmp_path):
  with metrics.Writer(tmp_path) as writer:
    writer.write(3, {"a": math.nan, "b": jnp.inf, "c": 1.5})
  text = (tmp_path / "metrics.jsonl").read_text()
  assert text == '{"step": 3, "a": null, "b": null, "c": 1.5}\n'


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path):
  with metrics.Writer(tmp_path, tensorboard=False) as writer:
    writer.write(0, {"a": 1})
    assert metrics.read(tmp_path / "metrics.jsonl") == [{"step": 0, "a": 1}]


def test_step_is_no_name_of_a_metric(tmp_path):
  with (
    metrics.Writer(tmp_path, tensorboard=False) as writer,
    pytest.raises(ValueError, match="'step'"),
  ):
    writer.write(0, {"step": 1})


@pytest.mark.parametrize("torn", ["", '{"step": 2, "rew', "\x00\x00\n", "[]\n"])
def test_resuming_cuts_the_lines_after_the_checkpoint(tmp_path, lines, torn):
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write(torn)
  with metrics.Writer(tmp_path, resume_from=2, tensorboard=False) as writer:
    assert metrics.read(tmp_path / "metrics.jsonl") == lines[:3]
    for step in 3, 4:
      writer.write(step, {"reward": step / 2, "step_time": 0.1})
  assert metrics.read(tmp_path / "metrics.jsonl") == lines
  assert [x.name for x in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_without_a_checkpoint_a_run_starts_anew(tmp_path, lines):
  with metrics.Writer(tmp_path, tensorboard=False):
    assert metrics.read(tmp_path / "metrics.jsonl") == []


def test_a_failed_cut_leaves_the_file_as_it_was(tmp_path, lines, monkeypatch):
  def full(_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr("os.fsync", full)
  with pytest.raises(OSError, match="No space"):
    metrics.Writer(tmp_path, resume_from=2, tensorboard=False)
  assert metrics.read(tmp_path / "metrics.jsonl") == lines


def test_events_of_a_resumed_run_purge_what_is_done_again(tmp_path):
  for start in None, 1:
    with metrics.Writer(tmp_path, resume_from=start) as writer:
      for step in 2, 3:
        writer.write(step, {"reward": 1.0})
  files = sorted((tmp_path / "tensorboard").iterdir())
  assert len(files) == 2
  assert all(b"reward" in f.read_bytes() for f in files)


@pytest.mark.parametrize(
  "name, timing",
  [("step_time", True), ("time/sample", True), ("timely", False)],
)
def test_timing_metrics_are_known_by_name(name, timing):
  assert metrics.is_timing(name) is timing


def test_secrets_are_masked_and_tokens_are_not():
  tree = {"max_tokens": 5, "hub": [{"api_key": "k"}], "HF_TOKEN": "t"}
  assert tracking.without_secrets(tree) == {
    "max_tokens": 5,
    "hub": [{"api_key": "***"}],
    "HF_TOKEN": "***",
  }


def fake_wandb(calls):
  """What of wandb is used, recording: the real one starts a service."""
  run = types.SimpleNamespace(
    define_metric=lambda *a, **k: None,
    log=lambda x: calls.append(("log", x)),
    finish=lambda: calls.append(("finish",)),
  )

  def init(**kwargs):
    calls.append(("init", kwargs))
    return run

  return types.SimpleNamespace(init=init, Settings=dict)


def test_wandb_gets_finite_numbers_no_secrets_and_one_id(tmp_path, monkeypatch):
  calls = []
  monkeypatch.setitem(sys.modules, "wandb", fake_wandb(calls))
  for _ in range(2):
    with metrics.Writer(
      tmp_path, tensorboard=False, wandb="p", config={"password": "x"}
    ) as writer:
      writer.write(1, {"a": 2.0, "b": math.nan})
  (_, first), log, finish, (_, second), *_ = calls
  assert (log, finish) == (("log", {"step": 1, "a": 2.0}), ("finish",))
  assert first["config"] == {"password": "***"}
  assert first["id"] == second["id"]


def test_a_missing_extra_says_how_to_install_it(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "wandb", None)
  with pytest.raises(ValueError, match=r"pip install 'rlx\[wandb\]'"):
    metrics.Writer(tmp_path, tensorboard=False, wandb="p")


# p = 1/2, n = 4, z = 2: centre (0.5 + 0.5)/2 = 0.5 and half width
# sqrt(1/16 + 4/64) * 2/2 = sqrt(1/8).
def test_wilson_interval_by_hand():
  low, high = metrics.wilson_interval(2, 4, z=2.0)
  assert low == pytest.approx(0.5 - math.sqrt(1 / 8))
  assert high == pytest.approx(0.5 + math.sqrt(1 / 8))
  assert metrics.wilson_interval(0, 0) == (0, 1)
  with pytest.raises(ValueError, match="5 successes of 4"):
    metrics.wilson_interval(5, 4)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 2000), st.data())
def test_wilson_interval_solves_the_score_equation(n, data):
  """Each end p0 is where the observed rate is exactly z deviations away."""
  k, z = data.draw(st.integers(0, n)), 1.96
  low, high = metrics.wilson_interval(k, n, z)
  assert 0 <= low <= k / n <= high <= 1
  for end in (low, high):
    distance = n * (k / n - end) ** 2
    assert distance == pytest.approx(z * z * end * (1 - end), abs=1e-9)
  mirror = metrics.wilson_interval(n - k, n, z)
  assert mirror == pytest.approx((1 - high, 1 - low))


def test_a_line_holds_the_names_in_the_order_given(tmp_path):
  with metrics.Writer(tmp_path, tensorboard=False) as writer:
    writer.write(0, {"b": 1, "a": metrics.mean(VALUES, MASK)})
  line = json.loads((tmp_path / "metrics.jsonl").read_text())
  assert list(line) == ["step", "b", "a"]
