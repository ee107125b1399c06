"""Settings of a rollout reach what they set, and change nothing that is drawn."""

import dataclasses
import os
from typing import Any

import numpy as np
import pytest

from rlx import assemble, config, experiment, prompts, recipes, sharding
from rlx.models import policy as model_policy
from rlx.rollout import config as rollouts
from rlx.rollout import engine, memory, serve
from tests import tiny
from tests.rollout import own_process

IDS = [3, 8]


def rows():
  made = [{"prompt": x, "number": i} for i, x in enumerate(("l", "r l", "r"))]
  return {"train": made, "test": made}


def share(completions, **columns):
  """The share of r in a completion."""
  del columns
  return [x.split().count("r") / max(len(x.split()), 1) for x in completions]


START = experiment.TrainConfig(
  name="settings",
  model=dataclasses.replace(tiny.DECODER, vocab_size=tiny.VOCAB),
  task=prompts.PromptTask(
    data=config.spec(rows), rewards=(share,), vocabulary=tiny.WORDS
  ),
  recipe=config.spec(recipes.grpo),
  rollout=rollouts.RolloutConfig(
    num_prompts=2,
    group_size=2,
    max_prompt_length=5,
    max_turn_length=4,
    max_completion_length=4,
  ),
)


@pytest.fixture
def gather(monkeypatch):
  """What an experiment samples, of the tiny policy on one device."""
  model, mesh = tiny.policy(), tiny.one_device()
  monkeypatch.setattr(model_policy, "make_policy", lambda *_, **__: model)
  monkeypatch.setattr(sharding, "make_mesh", lambda _: mesh)

  def run(chosen, **fields):
    settings = dataclasses.replace(chosen.rollout, **fields)
    chosen = dataclasses.replace(chosen, rollout=settings)
    parts = assemble.assemble(chosen)
    learnt = tiny.params(model, 1), ()
    return parts.gather(learnt, IDS, IDS, 0, ())[0]

  return run


@pytest.fixture
def given(monkeypatch):
  """Settings that reach what is made from them."""
  found: dict[str, Any] = {}

  def spy(where, name):
    make = getattr(where, name)

    def made(*args, **kwargs):
      found.update(kwargs)
      return make(*args, **kwargs)

    monkeypatch.setattr(where, name, made)

  for where, name in (
    *((serve, "make_engine"), (engine, "make_engine")),
    (memory, "Memory"),
  ):
    spy(where, name)
  return found


def same(one, other):
  for name in ("tokens", "mask", "reward", "sample", "turns"):
    np.testing.assert_array_equal(
      getattr(one.record, name), getattr(other.record, name), name
    )


def test_slots_and_prompts_in_parts(gather, given):
  want = gather(START)
  slotted = {"slots": 2, "check_every": 3, "prefill_tokens": 5}
  same(gather(START, **slotted), want)
  assert given.items() >= slotted.items()
  same(gather(START, prefill_tokens=3), want)
  assert given["prefill_tokens"] == 3


def test_pages_and_how_many(gather, given):
  recipe = config.spec(recipes.spo_chain, interval=1, continuations=2)
  chain = dataclasses.replace(START, recipe=recipe)
  want = gather(chain)
  assert given["size"] == 16
  same(gather(chain, page_size=2, kv_pages=6), want)
  assert (given["size"], given["num_pages"]) == (2, 6)
  message = "kv_pages=5: 6 pages of 2 tokens are needed for one sequence of 9"
  with pytest.raises(ValueError, match=message):
    gather(chain, page_size=2, kv_pages=5)


def test_environments_in_processes(gather):
  task = own_process.Task()
  played = gather(
    dataclasses.replace(START, task=task),
    environment_pool="processes",
    environment_workers=1,
  )
  where = played.record.reward[:, 0]
  assert (where > 0).all()
  assert len({*where.tolist()}) == 1
  assert where[0] != os.getpid()


@pytest.mark.parametrize("name", ["check_every", "prefill_tokens"])
def test_a_setting_of_no_tokens_is_refused(name):
  wrong: dict[str, Any] = {name: 0}
  with pytest.raises(ValueError, match=f"rollout.{name}=0: must be 1 or more"):
    rollouts.RolloutConfig(**wrong)
