"""Experiments: those that come with rlx fit together, and what does not fit is
refused with its numbers before anything compiles."""

import dataclasses
import json

import pytest

from rlx import (
  assemble,
  compiles,
  config,
  evaluate,
  experiment,
  optimizer,
  prompts,
  recipes,
  sharding,
  train_state,
)
from rlx.data import splits
from rlx.envs import arithmetic, frozen_lake
from rlx.rollout import config as rollouts
from tests import tiny

LAKE = experiment.TrainConfig(
  name="lake",
  model=dataclasses.replace(tiny.DECODER, vocab_size=14),
  task=frozen_lake.FrozenLake(size=3, turns=2, held_out=5),
  recipe=config.spec(recipes.gigpo),
  rollout=rollouts.RolloutConfig(
    num_prompts=4, group_size=2, max_prompt_length=11, max_turn_length=12
  ),
)


def replace(path, value, start=LAKE):
  """The experiment with the field at a dotted path changed."""
  name, _, rest = path.partition(".")
  if rest:
    value = replace(rest, value, getattr(start, name))
  return dataclasses.replace(start, **{name: value})


@pytest.mark.parametrize("name", config.names())
def test_experiments_that_come_with_rlx_are_whole(name):
  found = config.load(name)
  assert isinstance(found, experiment.TrainConfig)
  assert found.name == name
  assert config.from_json(config.to_json(found)) == found
  if isinstance(found.model, experiment.Pretrained):
    with pytest.raises(ValueError, match=found.model.path):
      assemble.assemble(found)
    return
  if isinstance(found.task, prompts.PromptTask):
    # All of its rows would be read.
    found = replace("task.data.size", 500, found)
  parts = assemble.assemble(found)
  assert parts.num_test >= 200
  assert parts.recipe.name
  assert parts.tokenizer.vocab_size == found.model.vocab_size


@pytest.mark.parametrize(
  "path, value, message",
  [
    (
      "rollout.group_size",
      1,
      "rollout.group_size=1: recipe gigpo .* 2 or more",
    ),
    ("rollout.num_prompts", 5, "rows of a batch=10 .* 8 devices.*: 8 or 16"),
    ("recipe", config.spec(recipes.ppo), "value=none: recipe ppo"),
    ("rollout.sampling.temperature", 0.0, "temperature=0: a greedy policy"),
    ("mesh", sharding.MeshConfig(data=3), "needs 3 devices, but there are 8"),
    (
      "mesh",
      sharding.MeshConfig(tensor=8),
      "axis 'vocab' of size 14 does not divide .*'tensor'.* of size 8",
    ),
    ("model.vocab_size", 12, "tokenizer has 14 tokens, .* only 12 rows"),
    (
      "rollout.max_prompt_length",
      10,
      "episode 0 has 11 tokens, more than max_prompt_length=10",
    ),
    ("task.held_out", 100, "held_out=100: lakes of size 3 .* only"),
  ],
)
def test_fields_that_do_not_fit_are_refused_before_anything_compiles(
  path, value, message
):
  wrong = replace(path, value)
  with compiles.count() as counted, pytest.raises(ValueError, match=message):
    assemble.assemble(wrong)
  assert counted.num == 0


@pytest.mark.parametrize(
  "make, fields, message",
  [
    (experiment.WarmStart, {"steps": -1}, "warm_start.steps=-1: must be 0"),
    (experiment.WarmStart, {"batch_size": 0}, "warm_start.batch_size=0"),
    (experiment.EvalConfig, {"num": 0}, "eval.num=0: must be 1 or more"),
    (experiment.EvalConfig, {"every": -1}, "eval.every=-1: must be 0 or more"),
    (experiment.CheckpointConfig, {"every": 0}, "checkpoint.every=0"),
    (experiment.CheckpointConfig, {"keep": 0}, "checkpoint.keep=0"),
    (experiment.LogConfig, {"samples_every": -1}, "log.samples_every=-1"),
    (train_state.LearnerConfig, {"num_iterations": 0}, "num_iterations=0"),
    (train_state.LearnerConfig, {"microbatch_tokens": -1}, "microbatch_tokens"),
  ],
)
def test_numbers_out_of_range_are_refused_where_they_are_written(
  make, fields, message
):
  with pytest.raises(ValueError, match=message):
    make(**fields)


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"seed": -1}, r"seed=-1: must be in 0 to 2\*\*32 - 1"),
    ({"seed": 2**32}, "seed=4294967296"),
    ({"steps": -1}, "steps=-1: must be 0 or more"),
  ],
)
def test_an_experiment_out_of_range_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(LAKE, **fields)


def test_minibatches_that_rows_do_not_fill_are_refused():
  # Eight rows cannot make nine updates, each of some rows.
  wrong = replace("learner", train_state.LearnerConfig(num_minibatches=9))
  with pytest.raises(ValueError, match="num_minibatches=9: .* 8 rows"):
    assemble.assemble(wrong)


# Tasks of prompts.


def task(tmp_path, rows, **fields):
  """An experiment on rows in a file."""
  path = tmp_path / "rows.jsonl"
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return dataclasses.replace(
    LAKE,
    model=dataclasses.replace(tiny.DECODER, vocab_size=264),
    task=prompts.PromptTask(
      data=config.spec(splits.json_lines, train=str(path)),
      rewards=(arithmetic.correct_result,),
    ),
    rollout=dataclasses.replace(LAKE.rollout, **fields),
  )


GOOD = {"prompt": "1 + 1 =", "answer": "2"}


@pytest.mark.parametrize(
  "rows, fields, message",
  [
    ([], {}, "rows.jsonl is empty"),
    ([{"question": "1?"}], {}, r"no column 'prompt'; it has \['question'\]"),
    (
      [{"prompt": "1 + 1 ="}],
      {},
      r"'correct_result' needs the columns \['answer'\], .* \['prompt'",
    ),
    (
      [GOOD, {**GOOD, "prompt": "1 + 11111 ="}],
      {},
      r"1 of 2 prompts are longer than max_prompt_length=11 \(longest 12\)",
    ),
    ([{**GOOD, "prompts": 1}], {}, r"columns named \['prompts'\]"),
  ],
)
def test_rows_that_cannot_be_learnt_from_are_refused(
  tmp_path, rows, fields, message
):
  wrong = task(tmp_path, rows, **fields)
  with compiles.count() as counted, pytest.raises(ValueError, match=message):
    assemble.assemble(wrong)
  assert counted.num == 0


@pytest.mark.parametrize("choice", ["drop", "truncate_left"])
def test_long_prompts_are_dropped_or_cut_by_an_explicit_choice(
  tmp_path, choice
):
  long = {**GOOD, "prompt": "1 + 11111 ="}
  chosen = task(tmp_path, [GOOD, long], long_prompts=choice)
  assert assemble.assemble(chosen).num_test == {"drop": 1}.get(choice, 2)


@pytest.mark.parametrize(
  "fields",
  [
    {"rewards": ()},
    {"rewards": (arithmetic.correct_result,), "reward_weights": (1.0, 2.0)},
  ],
)
def test_rewards_without_a_weight_each_are_refused(fields):
  with pytest.raises(ValueError, match="one weight each"):
    prompts.PromptTask(data=config.spec(splits.arithmetic), **fields)


def makes_none() -> None:
  """What spec() is not for."""


@pytest.mark.parametrize(
  "reward, message",
  [
    (config.spec(makes_none), r"spec\(makes_none\) .* returned None"),
    (lambda completions: [0.0], r"give spec\(make\)"),
  ],
)
def test_rewards_that_cannot_be_kept_or_made_are_refused(reward, message):
  chosen = prompts.PromptTask(
    data=config.spec(splits.arithmetic), rewards=(reward,)
  )
  with pytest.raises(ValueError, match=message):
    config.to_json(prompts.make_score(chosen) and chosen)


def test_going_on_from_the_device_is_refused():
  wrong = dataclasses.replace(
    LAKE,
    recipe=config.spec(recipes.spo_chain),
    rollout=dataclasses.replace(LAKE.rollout, on_device="always"),
  )
  with pytest.raises(ValueError, match="on_device=always: recipe spo_chain"):
    assemble.assemble(wrong)


def test_a_model_that_is_not_there_is_named():
  wrong = dataclasses.replace(LAKE, model=experiment.Pretrained("nowhere"))
  with pytest.raises(ValueError, match="model.path='nowhere': there is no"):
    assemble.assemble(wrong)


def only_train() -> splits.Splits:
  return {"train": [GOOD]}


def test_a_missing_split_is_named():
  wrong = dataclasses.replace(
    LAKE,
    model=dataclasses.replace(tiny.DECODER, vocab_size=264),
    task=prompts.PromptTask(
      data=config.spec(only_train), rewards=(arithmetic.correct_result,)
    ),
  )
  with pytest.raises(ValueError, match=r"no split 'test'; it has \['train'\]"):
    assemble.assemble(wrong)


# Evaluation.


@pytest.mark.parametrize(
  "num, samples, want", [(5, 1, 8), (5, 2, 8), (4, 2, 4), (3, 8, 3), (9, 1, 8)]
)
def test_evaluations_are_filled_up_to_the_mesh_and_not_beyond(
  num, samples, want
):
  chosen = dataclasses.replace(
    LAKE, eval=experiment.EvalConfig(num=num, samples=samples)
  )
  parts, asked = assemble.assemble(chosen), []

  def collector(split, sampling, num_prompts, group_size):
    asked.append((split, sampling.temperature, num_prompts, group_size))
    played = tiny.batch(rows=num_prompts * group_size)
    played.prompt[:] = 0
    return lambda params, ids, indices, version: _played(played, indices)

  evaluator = evaluate.Evaluator(chosen, parts._replace(collector=collector))
  found = evaluator(None)
  assert asked == [("test", 1.0, want, samples)]
  assert found.n == min(num, 5) * samples
  found = evaluator(None, greedy=True)
  assert asked[1] == ("test", 0.0, 8, 1)
  assert found.n == min(num, 5)


def _played(log, indices):
  from rlx.rollout import episodes

  assert max(indices) <= 4
  rows = len(log.tokens)
  return episodes.Played(
    record=log,
    success=log.outcome() > 0,
    stop=["completed"] * rows,
    parse_errors=log.turns * 0,
    seconds={},
  )


def test_warm_starts_need_demonstrations():
  class Silent:
    max_turns = 2

    def episode(self, index, split):
      raise NotImplementedError

    def num_test(self):
      return 8

    def words(self):
      return tiny.WORDS

  wrong = dataclasses.replace(
    LAKE, task=Silent(), warm_start=experiment.WarmStart()
  )
  with pytest.raises(ValueError, match="warm_start: this task has no"):
    assemble.assemble(wrong)


def test_optimisers_of_both_phases_are_their_own():
  found = config.load("quickstart")
  assert found.warm_start is not None
  assert isinstance(found.optimizer, optimizer.OptimizerConfig)
  assert found.warm_start.optimizer != found.optimizer
