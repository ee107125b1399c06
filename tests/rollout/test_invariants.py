"""What holds of every batch, however a plan came by it: ragged episodes,
environments that fail in any of their methods, completions of every length."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest

from rlx import batch as batches
from rlx import experiment, recipes, rollouts
from rlx.objective import log_probs
from rlx.rollout import acting, engine, forks, refill, summary
from rlx.rollout import config as rollout_config
from tests import tiny
from tests.recipes import worlds

PROMPTS, GROUP, TURNS = 3, 4, 3


class Fragile(worlds.Talk):
  """Ends early on `r`, and raises where the task says so."""

  def __init__(self, task: "Ragged"):
    super().__init__(task.turns)
    self._task = task

  def _call(self, name: str) -> None:
    calls = self._task.calls
    calls[name] = calls.get(name, 0) + 1
    # Any episode of a batch is hit, and never all of them.
    if name == self._task.fails and calls[name] % self._task.every == 0:
      raise OSError(f"{name} failed")

  def reset(self, seed: int) -> Any:
    self._call("reset")
    return super().reset(seed)

  def step(self, action: str) -> Any:
    self._call("step")
    shown, reward, over, truncated, info = super().step(action)
    if self._task.nan and self._turn == 2:
      info["evidence"] |= {"process": float("nan"), "matched": float("nan")}
      info["evidence"] |= {"information_gain": float("nan")}
    return shown, reward, over or action == "r", truncated, info

  def snapshot(self) -> int:
    self._call("snapshot")
    return super().snapshot()

  def restore(self, snapshot: int, seed: int) -> None:
    self._call("restore")
    super().restore(snapshot, seed)

  def expert_action(self) -> str:
    self._call("expert_action")
    return " ".join(["l"] * self._task.expert_words)

  def role(self) -> int:
    self._call("role")
    return super().role()

  def assess(self, goal: str) -> tuple[bool, float]:
    self._call("assess")
    return super().assess(goal)

  def phase(self, action: str) -> str:
    self._call("phase")
    return super().phase(action)

  def hint(self) -> str:
    self._call("hint")
    return super().hint()


@dataclasses.dataclass(frozen=True)
class Ragged(worlds.Say):
  turns: int = TURNS
  fails: str = ""
  every: int = 3
  nan: bool = False
  expert_words: int = 1
  calls: dict[str, int] = dataclasses.field(default_factory=dict)

  def episode(self, index: int, split: str) -> Fragile:
    del index, split
    return Fragile(self)


# Every plan, on what it can be used for.
EPISODES = {
  "grpo": {},
  "rapo": {"success_above": 0.5},
  "step_gui": {},
  "erl": {},
  "ui_s1": {"patches": 2},
  "sharp": {},
  "hi_agent": {},
  "spo_chain": {"continuations": 2},
  "vsrm": {"continuations": 2},
  "pav": {"continuations": 2},
  "spo_tree": {"branches": "3,2"},
  "branch_grpo": {"branches": "2,2,2"},
  "tree_grpo": {"branches": "2,2"},
  "portool": {"fan_out": 2},
}
SEGMENTS: dict[str, Any] = {"segment_tokens": 1}
WRITTEN: dict[str, dict[str, Any]] = {
  "grpo": {},
  "rapo": {},
  "step_gui": {},
  "spo_chain": {"interval": 1, "continuations": 2, "max_steps": 3},
  "vsrm": {
    **{"continuations": 2, "max_tokens": 1, "max_steps": 2, "end": "l"},
    **{"first": 0, "apart": 0},
  },
  "pav": {"continuations": 2, "step_tokens": 1, "max_steps": 3},
  "spo_tree": {"branches": "3,2,2", **SEGMENTS},
  "branch_grpo": {"branches": "2,2", **SEGMENTS},
  "tree_grpo": {"branches": "2,2"},
  "pacore": {"fewest": 1, "most": 2, "easiest": 1.01},
}
# What the reward function was called with, as how many texts.
SCORED: list[int] = []


def counted(completions, log_extra, **columns) -> list[float]:
  SCORED.append(len(completions))
  return worlds.rightness(completions, log_extra, **columns)


HOOKS = {
  "reset": EPISODES,
  "step": EPISODES,
  "snapshot": [x for x in EPISODES if x not in ("grpo", "rapo")],
  "restore": [x for x in EPISODES if x not in ("grpo", "rapo")],
  "expert_action": ["ui_s1"],
  "role": ["sharp"],
  "assess": ["hi_agent"],
  "phase": ["erl"],
  "hint": ["step_gui"],
}
TREES = ("spo_tree", "branch_grpo", "tree_grpo", "portool")


def gather(name: str, task: Any, arguments: dict[str, Any]):
  """Returns `(prompt ids, memory) -> (Played, memory)` and the first memory."""
  recipe = getattr(recipes, name)(**arguments)
  model = MODEL
  config = experiment.TrainConfig(
    name=name,
    model=None,
    task=task,
    recipe=None,
    rollout=rollout_config.RolloutConfig(
      num_prompts=PROMPTS,
      group_size=GROUP,
      max_prompt_length=8,
      max_turn_length=4,
      max_completion_length=2 if isinstance(task, Ragged) else 4,
    ),
  )
  columns = rollouts.columns(task, recipe)
  made = rollouts.collect(
    config, recipe, columns, model, tiny.tokenizer(), tiny.one_device()
  )
  params = PARAMS
  evidence = tuple(
    jax.tree.map(np.asarray, {"params": PARAMS}) for _ in recipe.providers
  )

  def collect(ids, memory):
    found, memory = made.gather((params, evidence), ids, ids, 5, memory)
    summary.measure(found)
    return found, memory

  memory = recipe.plan.memory(rollouts.shape_of(config))
  return collect, memory, config.rollout


MODEL = tiny.policy()
PARAMS = tiny.params(MODEL, seed=1)


@pytest.fixture(autouse=True)
def _each_shape_compiles_once(monkeypatch):
  for where in (engine, forks):
    make = functools.partial(_engine, where.make_engine)
    monkeypatch.setattr(where, "make_engine", make)


MADE = {}


def _engine(make, model, shape, **settings):
  # With the memory of the first that asked, which has the same parameters.
  if (make, shape) not in MADE:
    MADE[make, shape] = make(model, shape, **settings)
  return MADE[make, shape]


@jax.jit
def _recomputed(tokens, valid):
  model = MODEL
  index = np.arange(tokens.shape[1], dtype=np.int32)
  positions = np.broadcast_to(index, tokens.shape)
  hidden = model.apply(PARAMS, tokens, positions, valid.astype(np.int32))
  return log_probs.token_log_probs(
    *(model.logits, PARAMS, hidden, tokens), temperature=1.0, chunk_tokens=64
  )[0]


def check(rollout: batches.Rollout, steps: batches.Steps, name: str) -> None:
  """Asserts what holds of every batch that is learnt from."""
  rows, table = tiny.host(rollout), tiny.host(steps)
  live = table.weight > 0
  width = len(live) // len(rows.tokens)
  assert live.any()
  assert set(np.unique(table.weight)) <= {0.0, 1.0}
  _check_tokens(rows, live, width)
  _check_trajectories(table, live, name)
  if name in TREES:
    _check_trees(rows, table, live)
  now = rows.mask & (rows.version == 5)
  expected = np.asarray(_recomputed(rows.tokens, rows.valid))
  np.testing.assert_allclose(rows.raw_log_probs[now], expected[now], atol=2e-5)
  np.testing.assert_array_equal(rows.log_probs[now], rows.raw_log_probs[now])
  for x in (*table.extras.values(), table.reward, table.outcome, table.value):
    assert np.isfinite(x).all()
    assert not x[~live].any()


def _check_tokens(rows, live, width) -> None:
  length = rows.valid.sum(1, keepdims=True)
  inside = np.arange(rows.tokens.shape[1])[None] < length
  np.testing.assert_array_equal(rows.valid, inside)
  assert not (rows.mask & ~rows.valid).any()
  # What was chosen is of a step of its own row that there is.
  where, _ = np.nonzero(rows.mask)
  step = rows.segment[rows.mask]
  assert (step // width == where).all()
  assert live[step].all()
  # No step is without a token.
  assert set(np.flatnonzero(live)) == set(rows.segment[rows.segment >= 0])
  assert not (rows.mask & (rows.segment < 0)).any()


def _check_trajectories(table, live, name) -> None:
  assert not table.continues[~live].any()
  assert not table.vote[~live].any()
  own = table.trajectory[live]
  for one in np.unique(own):
    at = np.flatnonzero(live & (table.trajectory == one))
    # Between the rows of one there are none of another.
    between = table.trajectory[at[0] : at[-1] + 1]
    assert (between == one).all()
    assert table.vote[at].sum() == pytest.approx(1, abs=1e-5)
    last = np.zeros(len(at))
    last[-1] = 1
    np.testing.assert_array_equal(table.continues[at], 1 - last)
    assert len(np.unique(table.prompt[at])) == 1
    if name in TREES:
      continue
    assert (table.outcome[at] == table.outcome[at[0]]).all()
    if name != "hi_agent":
      paid = table.reward[at].sum()
      np.testing.assert_allclose(table.outcome[at], paid, atol=1e-6)
      np.testing.assert_array_equal(table.index[at], np.arange(len(at)))
      np.testing.assert_array_equal(table.depth[at], np.arange(len(at)))
      np.testing.assert_array_equal(table.parent[at], [-1, *at[:-1]])


def _check_trees(rows, table, live) -> None:
  for row in np.flatnonzero(live):
    parent = table.parent[row]
    above = 0.0 if parent < 0 else table.outcome[parent]
    paid = table.reward[row] if table.depth.max() else table.outcome[row]
    assert table.outcome[row] == pytest.approx(above + paid, abs=1e-6)
    assert (table.depth[row] == 0) == (parent < 0)
    if parent < 0:
      continue
    assert live[parent]
    assert parent < row
    assert table.depth[parent] == table.depth[row] - 1
    assert table.tree[parent] == table.tree[row]
    assert table.prompt[parent] == table.prompt[row]
    # What was chosen above is there, and is counted there alone.
    size = rows.valid[parent].sum()
    same = rows.tokens[row, :size] == rows.tokens[parent, :size]
    assert same.all()
    assert not rows.mask[row, :size].any()


def collected(name: str, task: Any, arguments: dict[str, Any], batches_: int):
  collect, memory, config = gather(name, task, arguments)
  for first in range(0, batches_ * PROMPTS, PROMPTS):
    ids = list(range(first, first + PROMPTS))
    found, memory = collect(ids, memory)
    check(*refill.train_on(config, found), name)
    yield found


@pytest.mark.parametrize("name", EPISODES)
def test_ragged_episodes(name):
  lengths = set()
  for found in collected(name, Ragged(), EPISODES[name], 2):
    lengths |= set(found.record.length.tolist())
  assert len(lengths) > 2


@pytest.mark.parametrize("name", WRITTEN)
def test_completions_of_every_length(name):
  lengths = set()
  for found in collected(name, worlds.WRITE, WRITTEN[name], 3):
    lengths |= set(found.record.length.tolist())
  assert len(lengths) > 2


@pytest.mark.parametrize(
  ("hook", "name"), [(hook, name) for hook in HOOKS for name in HOOKS[hook]]
)
def test_what_an_environment_raises_costs_only_its_episode(hook, name):
  task = Ragged(fails=hook, every=1 if hook == "hint" else 3)
  for _ in collected(name, task, EPISODES[name], 2):
    pass
  assert task.calls.get(hook, 0) >= task.every


NOT_A_NUMBER = ("srgpo", "ui_s1", "erl")


@pytest.mark.parametrize("name", NOT_A_NUMBER)
def test_evidence_that_is_no_number_costs_its_episode(name):
  for found in collected(name, Ragged(nan=True), {}, 1):
    assert "environment_error" in found.stop


@pytest.mark.parametrize("words", [1, 12, 20])
def test_an_expert_who_says_much_makes_no_row_too_long(words):
  for _ in collected("ui_s1", Ragged(expert_words=words), {"patches": -1}, 2):
    pass


@pytest.mark.parametrize("name", ["spo_tree", "tree_grpo"])
def test_only_what_is_finished_is_scored_and_in_the_metrics(name):
  task = dataclasses.replace(worlds.WRITE, rewards=(counted,))
  SCORED.clear()
  for found in collected(name, task, {"branches": "3,2", **SEGMENTS}, 1):
    ended = [stop in ("stop", "max_tokens") for stop in found.stop]
    assert sum(SCORED) == sum(ended)
    paid = found.record.reward[ended, 0].mean()
    mean = found.rewards["rewards/counted/mean"]
    assert mean == pytest.approx(paid, abs=1e-6)


@pytest.mark.parametrize("name", ["vsrm", "pav", "erl", "ui_s1", "step_gui"])
def test_all_that_is_continued_may_fail(name):
  for _ in collected(name, Ragged(fails="restore", every=1), EPISODES[name], 1):
    pass


@pytest.mark.parametrize(
  ("hook", "name"),
  [("restore", "hi_agent"), ("restore", "spo_tree"), ("step", "portool")],
)
def test_a_batch_in_which_nothing_could_be_played_is_an_error(hook, name):
  with pytest.raises(RuntimeError, match="of a batch failed"):
    for _ in collected(name, Ragged(fails=hook, every=1), EPISODES[name], 1):
      pass


def test_an_action_that_could_not_be_taken_says_nothing_of_its_sub_goal():
  (found,) = collected("hi_agent", Ragged(fails="step"), {}, 1)
  assert found.whole is not None
  log, lost = found.record, 0
  for goal in np.flatnonzero(found.whole & (log.turns > 0)):
    acts = log.turns[goal + 1 : goal + 3] > 0
    reward = log.reward[goal + 1 : goal + 3, 0]
    done = reward[acts].mean() if acts.any() else 0.0
    lost += acts.any() and not acts.all()
    text = acting.text_of(log, int(goal), 0, tiny.tokenizer())
    formed, judged = worlds.Talk(1).assess(text)
    expected = 0.1 * formed + 0.6 * done + 0.3 * judged
    assert log.reward[goal, 0] == pytest.approx(expected, abs=1e-6)
  assert lost
