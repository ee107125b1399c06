"""What a run, a checkpoint or a model directory has to offer."""

import shutil

import jax
import numpy as np
import pytest

from rlx import assemble, checkpoint, config, exported, rundir, trained
from tests import tiny


def same(got, want):
  jax.tree.map(np.testing.assert_array_equal, tiny.host(got), tiny.host(want))


def state_of(parts, seed):
  """A state with other parameters for every seed; nothing is trained."""
  return tiny.start(parts.learner, seed)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run directory with checkpoints of steps 1 and 2, and their parameters."""
  path = tmp_path_factory.mktemp("trained") / "run"
  settings = tiny.EXPERIMENT
  parts, params = assemble.assemble(settings), {}
  extra = {"before": {"success": 0.25, "low": 0.1, "high": 0.5, "n": 8}}
  with (
    rundir.open_run(path, config.to_json(settings)) as opened,
    checkpoint.Checkpointer(opened.checkpoints) as saved,
  ):
    for step in (1, 2):
      state = state_of(parts, seed=step)
      params[step] = tiny.host(state.params["policy"])
      saved.save(step, {"state": state}, extra)
  return path, params


def test_a_run_is_its_newest_checkpoint(run):
  path, params = run
  for place in (path, path / "checkpoints"):
    found = trained.load(str(place))
    assert found.step == 2
    assert found.config == tiny.EXPERIMENT
    assert found.extra["before"]["success"] == 0.25
    same(found.params, params[2])


def test_a_checkpoint_is_itself(run):
  path, params = run
  found = trained.load(str(path / "checkpoints" / "step_1"))
  assert found.step == 1
  same(found.params, params[1])


def test_parameters_come_to_where_the_mesh_has_them(run):
  mesh = ("--mesh.data", "2", "--mesh.fsdp", "2", "--mesh.tensor", "2")
  found = trained.load(str(run[0]), overrides=mesh)
  assert found.parts.mesh.shape["tensor"] == 2
  want = found.parts.learner.placements.params["policy"]
  assert jax.tree.map(lambda x: x.sharding, found.params) == want
  same(found.params, run[1][2])


def test_fields_may_be_changed_on_the_way(run):
  found = trained.load(str(run[0]), overrides=("--eval.samples", "7"))
  assert found.config.eval.samples == 7


def test_a_damaged_checkpoint_is_passed_over(run, tmp_path, caplog):
  path = tmp_path / "run"
  shutil.copytree(run[0], path)
  (path / "checkpoints" / "step_2" / "checkpoint.json").write_text("{")
  assert trained.load(str(path)).step == 1
  assert "step_2 is damaged" in caplog.text


def test_an_exported_run_is_the_same_policy(run, tmp_path):
  found = trained.load(str(run[0]))
  out = tmp_path / "out"
  exported.write(found, out)
  settings = tmp_path / "tiny.py"
  settings.write_text(
    "from tests import tiny\ndef get_config(): return tiny.EXPERIMENT\n"
  )
  again = trained.load(str(out), config=str(settings))
  assert again.step is None
  assert again.parts.tokenizer.vocab_size == 14
  assert again.parts.tokenizer.stop_ids == found.parts.tokenizer.stop_ids
  # Layers may be stacked in one and apart in the other.
  tokens = jax.numpy.arange(10)[None] % 14
  ones = jax.numpy.ones_like(tokens)
  logits = [
    x.parts.model.logits(
      x.params, x.parts.model.apply(x.params, tokens, tokens, ones)
    )
    for x in (found, again)
  ]
  np.testing.assert_allclose(logits[1], logits[0], atol=1e-5)
  card = (out / "README.md").read_text()
  assert "gigpo" in card
  assert "0.250 (0.100–0.500, n = 8)" in card
  with pytest.raises(ValueError, match="name the experiment with --config"):
    trained.load(str(out))
  with pytest.raises(ValueError, match="not an empty directory"):
    exported.write(found, out)


def test_the_tokens_and_the_turns_are_the_same_after_an_export(run, tmp_path):
  found = trained.load(str(run[0]))
  out = tmp_path / "out"
  exported.write(found, out)
  from rlx import tokenizer

  mine, theirs = found.parts.tokenizer, tokenizer.load(out)
  text = ". O A\n. . .\nO . G"
  messages = [{"role": "user", "content": text}]
  assert theirs.chat(messages) == mine.chat(messages)
  assert theirs.turn(text) == mine.turn(text)
  assert theirs.decode([8, 9]) == mine.decode([8, 9])


@pytest.mark.parametrize(
  "path, message",
  [
    ("nowhere", "nowhere: no such run, checkpoint or model directory"),
    ("empty", "neither a run directory"),
    ("checkpoints/step_one", "step_one: neither a run"),
    ("foreign/checkpoints/step_3", "not a run directory"),
  ],
)
def test_what_is_none_of_these_is_refused(tmp_path, path, message):
  if path != "nowhere":
    (tmp_path / path).mkdir(parents=True)
  with pytest.raises(ValueError, match=message):
    trained.load(str(tmp_path / path))


def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(run):
  path, _ = run
  (path / "checkpoints" / "step_9").mkdir()
  try:
    with pytest.raises((ValueError, OSError), match="9"):
      trained.load(str(path / "checkpoints" / "step_9"))
  finally:
    (path / "checkpoints" / "step_9").rmdir()


def test_parameters_of_another_shape_are_refused(run):
  with pytest.raises(ValueError, match="embed"):
    trained.load(str(run[0]), overrides=("--model.embed-dim", "32"))
