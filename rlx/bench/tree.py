"""Going on from the middle: what it saves that what was read is kept."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from rlx import sharding
from rlx.bench import measure, tasks, workloads
from rlx.models import config as model_config
from rlx.models import policy as model_policy
from rlx.rollout import (
  bind,
  completions,
  engine,
  forks,
  pages,
  played,
  sampling,
  verbs,
)
from rlx.rollout.plans import tree


@dataclasses.dataclass(frozen=True)
class Workload:
  """One trajectory, judged at its boundaries; and one tree."""

  prefix_tokens: int = 512
  """Of the trajectory, its prompt included."""
  prompt_tokens: int = 32
  boundaries: int = 8
  """Spread evenly over the prefix; the last is its end."""
  continuations: int = 8
  """At each."""
  new_tokens: int = 32
  """Of each; and of a node of the tree."""
  branches: tuple[int, ...] = (4, 4, 4)
  """Of the tree, which grows from a prompt of `prefix_tokens`."""
  page_size: int = 16
  model: model_config.DecoderConfig = workloads.MODEL


class Bench:
  """A model, and the verbs in three ways, for one workload."""

  def __init__(self, workload: Workload, seed: int = 0):
    self.workload = workload
    self._mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:1])
    self._model = model_policy.make_policy(workload.model)
    self._params = jax.jit(self._model.init)(jax.random.key(seed))
    self._settings = {
      "sampler": sampling.Sampling(),
      "stop_ids": (),  # So that everything has its full length.
      "mesh": self._mesh,
    }

  def memory(self, shape: engine.Shape, num_pages: int = 0):
    size = self.workload.page_size
    return bind.memory(self._model, shape, self._mesh, size, num_pages)

  def continuing(self, shape: engine.Shape, memory=None, held=None):
    """Returns `continue_from`, which reads prefixes again without a memory.

    Args:
      held: a dict for the bytes that the last call had beside the pool.
    """

    def make(one: engine.Shape) -> engine.Engine:
      # No prefix is longer, so that none is padded further.
      longest = min(one.prompt_tokens, self.workload.prefix_tokens)
      one = one._replace(prompt_tokens=longest)
      return engine.make_engine(self._model, one, **self._settings)

    def forked(one: engine.Shape) -> engine.Engine:
      assert memory is not None
      made = forks.make_engine(
        self._model, one, memory=memory, **self._settings
      )

      def first(*args):
        decoded, kept = made.first(*args)
        if held is not None:
          held["trunk"] = _bytes(kept.slots.trunk)
          held["tails"] = _bytes(kept.slots.cache)
        return decoded, kept

      return made._replace(first=first)

    def go_on(made, params, before, cuts, **settings):
      return completions.go_on(
        *(made, params, jax.random.key(1), tasks.Bytes(), _score),
        *(before, cuts),
        longest=shape.action_tokens,
        **settings,
      )

    made = make if memory is None else forked
    call = bind.continuing(shape, made, go_on, devices=1)
    return functools.partial(call, self._params, 0)

  def start(self, shape: engine.Shape) -> played.Played:
    """A prompt that nobody has answered yet."""
    letters = tasks.letters(0, shape.prompt_tokens)
    return completions.start(
      shape,
      prompt_ids=[0],
      prompts=[tasks.Bytes().encode(letters)],
      rows=[{"prompt": letters}],
      version=0,
    )

  def sampling(self, shape: engine.Shape) -> Callable[[], played.Played]:
    """Returns what samples a whole group of one prompt."""
    made = engine.make_engine(self._model, shape, **self._settings)
    letters = tasks.letters(0, shape.prompt_tokens)
    return lambda: completions.complete(
      *(made, self._params, jax.random.key(1), tasks.Bytes(), _score),
      prompt_ids=[0],
      prompts=[tasks.Bytes().encode(letters)],
      rows=[{"prompt": letters}],
      version=0,
    )


def run(
  workload: Workload = Workload(),
  repeats: int = 5,
  report: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
  """Returns seconds of Monte-Carlo values and of a tree, as JSON values.

  All ways take turns in one process, after one call of each that compiles.
  `values` are the continuations of all boundaries: with what was read kept
  ("kept"), with every prefix read for each of its continuations ("again"), and
  once for all of them ("once"); to the two, prefixes are as long as the longest.
  `tree` is the tree, and as many independent samples as it has leaves.
  `kv` is what lies on the device while `values` are drawn, by the sizes of the
  arrays, in tokens and in bytes: the whole `pool`, which has the pages that one
  sequence needs; `trunk`, the copy of the prefix that attention reads; and
  `tails`, what the rows write. `ratio` is their `total` by `distinct`, the tokens
  that differ. The copy is beside the pages it is of, so that what is shared is
  there twice; `page_ratio` leaves it and unused pages out.

  Args:
    report: called with the number of rounds that are done.
  """
  bench = Bench(workload)
  values, kv = _values(bench)
  trees = _tree(bench)
  out: dict[str, Any] = {"bench": "tree", "repeats": repeats}
  taken = {name: ([], []) for name in (*values, *trees)}
  for done in range(repeats + 1):
    for name, call in {**values, **trees}.items():
      began, cpu = time.perf_counter(), measure.cpu_seconds()
      call()
      if done:
        taken[name][0].append(time.perf_counter() - began)
        taken[name][1].append(measure.cpu_seconds() - cpu)
    report(done)
  median = lambda name, which: statistics.median(taken[name][which])
  for kind, names in (("values", values), ("tree", trees)):
    out[kind] = {
      name: {
        "median_s": median(name, 0),
        "min_s": min(taken[name][0]),
        "cpu_s": median(name, 1),
      }
      for name in names
    }
    first, *others = names
    for name in others:
      for key, which in (("times", 0), ("cpu_times", 1)):
        out[kind][name][key] = median(name, which) / median(first, which)
  return {
    "workload": dataclasses.asdict(workload),
    **out,
    "kv": kv(),
    **measure.surroundings(),
  }


def _values(bench: Bench):
  """Returns the three ways to continue all boundaries, and how to count."""
  w = bench.workload
  written = w.prefix_tokens - w.prompt_tokens
  shape = engine.Shape(
    *(w.boundaries, w.continuations, w.prompt_tokens, 0),
    *(written + w.new_tokens, 1),
  )
  # As many as one sequence needs, and one to copy.
  fits = pages.needed(shape.length, w.page_size) + 1
  memory = bench.memory(shape, fits)
  beside: dict[str, int] = {}
  kept = bench.continuing(shape, memory, beside)
  again = bench.continuing(shape)
  start = [verbs.Cut(0, w.prompt_tokens)]
  one = kept(bench.start(shape), start, 1, max_tokens=written)
  ends = np.linspace(0, w.prefix_tokens, w.boundaries + 1)[1:].astype(int)
  cuts = [verbs.Cut(0, int(max(end, w.prompt_tokens))) for end in ends]
  each = [cut for cut in cuts for _ in range(w.continuations)]
  num, tokens = w.continuations, w.new_tokens
  memory.filled = 0

  def count() -> dict[str, Any]:
    written = len(cuts) * num * tokens
    distinct = w.prefix_tokens + written
    used = (pages.num_held(memory.index.pages) - 1) * memory.size
    held = {"pool": _bytes(memory.pool.data), **beside}
    held["total"] = sum(held.values())
    each = held["pool"] // (memory.pool.pages * memory.size)
    return {
      "distinct": distinct,
      **{name: size // each for name, size in held.items()},
      **{f"{name}_bytes": size for name, size in held.items()},
      "ratio": held["total"] / (each * distinct),
      "pages": used,
      "page_ratio": (used + written) / distinct,
      "read_again": memory.filled,
    }

  return {
    # As `values.values` asks for it.
    "kept": lambda: kept(one, cuts, num, max_tokens=tokens, keep=False),
    "again": lambda: again(one, each, 1, max_tokens=tokens),
    "once": lambda: again(one, cuts, num, max_tokens=tokens),
  }, count


def _tree(bench: Bench):
  """Returns what grows a tree, and what samples as many leaves."""
  w = bench.workload
  leaves = int(np.prod(w.branches))
  longest = w.new_tokens * len(w.branches)
  shape = engine.Shape(1, leaves, w.prefix_tokens, 0, longest, 1)
  memory = bench.memory(shape)
  do = verbs.Verbs(
    sample=lambda *_: bench.start(shape),
    start=lambda *_: bench.start(shape),
    continue_from=bench.continuing(shape, memory),
    score=lambda *_: None,
    tokenizer=tasks.Bytes(),
    shape=shape,
    version=0,
  )
  plan = tree.tree(w.branches, segment_tokens=w.new_tokens)

  def grow():
    memory.forget()  # As with new parameters.
    return plan.collect(do, [0], [0], ())

  return {"tree": grow, "leaves": bench.sampling(shape)}


def _bytes(tree_: Any) -> int:
  return sum(x.nbytes for x in jax.tree.leaves(tree_))


def _score(rows, texts, ids, truncated) -> completions.Scored:
  del rows, ids, truncated
  rewards = np.array(tasks.lower_case(texts))
  return completions.Scored(rewards, rewards > 0.5, {}, {})
