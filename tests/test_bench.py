"""The bench: a tiny instance of each workload runs and says everything."""

import dataclasses
import functools
import json
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from rlx import credit, recipes
from rlx.bench import (
  children,
  credit_table,
  measure,
  plain,
  run,
  tasks,
  workloads,
)
from rlx.bench import credit as credit_bench
from rlx.commands import bench
from tests import tiny

MODEL = dataclasses.replace(
  tiny.DECODER, vocab_size=512, num_layers=1, qk_norm=True
)
TINY = {
  "grpo": dataclasses.replace(
    workloads.GRPO,
    model=MODEL,
    num_prompts=2,
    group_size=2,
    prompt_tokens=4,
    new_tokens=3,
  ),
  "agent": dataclasses.replace(
    workloads.AGENT,
    model=MODEL,
    num_prompts=2,
    group_size=2,
    new_tokens=2,
  ),
}

NUMBERS = (
  *("step_s_min", "step_s_median"),
  *("cpu_s_per_step_min", "cpu_s_per_step_median"),
  *("sample_s_median", "train_s_median"),
  *("sample_tokens_per_s", "train_tokens_per_s", "new_tokens_per_s"),
  *("start_to_setup_s", "start_to_first_step_s", "cpu_to_first_step_s"),
  *("num_params", "compilations", "compile_s", "peak_rss_mib", "cores"),
)
LISTS = ("step_s", "cpu_s", "sample_s", "train_s", "reward")


@pytest.fixture(scope="module", params=TINY)
def measured(request):
  """What two steps of a workload took."""
  return request.param, run.run(TINY[request.param], steps=2)


def test_a_workload_says_everything_in_json(measured):
  name, found = measured
  found = json.loads(json.dumps(found))
  assert found["workload"]["name"] == name
  assert found["workload"]["steps"] == 2
  assert all(found[key] > 0 for key in NUMBERS)
  assert all(len(found[key]) == 2 for key in LISTS)
  assert all(reward >= 0 for reward in found["reward"])
  # Every turn has its full length.
  assert found["new_tokens"] == [TINY[name].new_tokens_per_step] * 2
  assert set(found["versions"]) >= {"python", "rlx", "jax", "jaxlib"}


def test_the_table_shows_what_was_measured(measured, capsys):
  name, found = measured
  starts = {f"start_to_first_step_s_{kind}": 1.0 for kind in ("cold", "warm")}
  bench.show({**found, **starts, "bench": name})
  shown = capsys.readouterr().out
  assert f"rlx bench {name}" in shown
  assert "end to end, new tokens" in shown


def test_the_workloads_are_those_of_the_peers():
  grpo, agent = workloads.GRPO, workloads.AGENT
  assert grpo.rows * (grpo.prompt_tokens + grpo.new_tokens) == 64 * 96
  assert grpo.new_tokens_per_step == 4096
  assert agent.new_tokens_per_step == 768
  talk, tokenizer = tasks.Talk(3, 0), tasks.Bytes()
  first, _ = talk.reset(seed=0)
  user = {"role": "user", "content": first}
  assert len(tokenizer.chat([user])) == agent.prompt_tokens
  shown, reward, *_ = talk.step("ab~!")
  assert reward == 0.5
  # With the token that closes the turn before.
  assert 1 + len(tokenizer.turn(shown)) == agent.turn_tokens


def test_a_process_starts_before_anything_is_imported():
  began = time.time()
  code = (
    "import time; from rlx.bench import measure; "
    "print(measure.process_start(), time.time())"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  start, now = map(float, done.stdout.split())
  # The kernel counts in hundredths of a second.
  assert began - 0.03 <= start <= now


def test_cpu_time_and_memory_only_grow():
  cpu, peak = measure.cpu_seconds(), measure.peak_mib()
  block = [0.0] * 1_000_000
  assert measure.cpu_seconds() > cpu - 1e-9
  assert measure.peak_mib() >= peak > 1
  assert len(block) == 1_000_000


def test_help_teaches(capsys):
  assert bench.main(["--help"]) == 0
  shown = capsys.readouterr().out
  assert all(f"\n  {name} " in shown for name in bench.NAMES)
  for name in bench.NAMES:
    assert bench.main([name, "--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"usage: rlx bench {name} [--json]")
    assert all(len(line) <= 84 for line in page.splitlines())


@pytest.mark.parametrize(
  "args, message",
  [
    (["gpro"], "no workload 'gpro'; there are grpo, agent, "),
    (["grpo", "--steps", "0"], "--steps=0: must be 1 or more"),
    (["grpo", "--steps", "x"], "--steps='x'"),
    (["agent", "--jsn"], "unknown argument '--jsn'"),
  ],
)
def test_what_cannot_be_measured_is_refused(args, message):
  with pytest.raises(ValueError, match=message):
    bench.main(args)


def test_a_process_that_fails_says_why():
  with pytest.raises(ValueError, match="no workload 'nothing'"):
    children.measure("nothing", 1)


def test_plain_credit_is_the_recipes():
  """What is timed beside it computes the same."""
  for method in plain.ALL:
    recipe = getattr(recipes, method.__name__)()
    table = credit_table.make(recipe, 32 * 64)
    state = recipe.credit.init()
    update = jax.jit(functools.partial(credit.advantages, recipe.credit, state))
    want, _ = update(table)
    got = method(plain.columns(table))
    np.testing.assert_allclose(got, want, atol=2e-4, err_msg=method.__name__)


def test_credit_is_timed_in_json():
  found = credit_bench.run((32, 64), (recipes.grpo, recipes.rloo), repeats=2)
  found = json.loads(json.dumps(found))
  assert found["rows"] == [32, 64]
  grpo, rloo = found["recipes"]
  assert grpo["name"] == "grpo"
  assert all(len(grpo[x]) == 2 for x in ("median_ms", "plain_ms", "ratio"))
  assert all(x > 0 for x in grpo["median_ms"] + rloo["min_ms"])
  assert "ratio" not in rloo
