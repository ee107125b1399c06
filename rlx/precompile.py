"""Compiles an update from shapes alone, before there is a batch."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rlx import ahead, sharding
from rlx.credit import table
from rlx.programs import make, tokens


def start(
  compiling: ahead.Ahead,
  run: make.Programs,
  mesh: Mesh,
  views: Sequence[tuple[Any, Any]],
  *,
  rows: int,
  length: int,
  turns: int,
  extras: Sequence[str],
  reference: Any,
  scored: bool,
  rest: bool,
) -> None:
  """Starts to compile what an update meets; the longest to compile goes first.

  Args:
    views: arrays and static shape of micro-batches.
    rows: of the batch, each of at most `length` tokens and `turns` steps.
    extras: columns of the step table.
    reference: parameters of the reference, arrays or shapes; or None.
    scored: whether micro-batches are scored before the first pass.
    rest: also compile what does not depend on `views`.
  """
  by_row = sharding.batch_sharding(mesh)
  whole = sharding.replicated(mesh)
  put = lambda tree, place: jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree
  )
  state = run.state
  batch = put(jax.eval_shape(lambda: tokens.blank(rows, length)), by_row)
  sums = put(jax.eval_shape(run.zeros, state.params, batch)[1], whole)
  for view, shape in views:
    micro = ahead.shape_of(run.send(view)), shape
    # `fresh` and its negation are one program.
    compiling.start(
      run.accumulate, state.params, state.params, sums, batch, *micro, True
    )
    if scored:
      like = ahead.shape_of(reference)
      compiling.start(run.score, state.params, like, batch, *micro)
  if not rest:
    return
  compiling.start(run.apply, state, state.params, sums)
  nothing = np.zeros(rows * turns)
  steps = jax.eval_shape(
    lambda: table.step_table(
      trajectory=nothing,
      reward=nothing,
      extras=dict.fromkeys(extras, nothing),
    )
  )
  steps = put(steps, whole)
  if state.evidence:
    seen = (state.evidence, state.params, batch, steps)
    compiling.start(run.observe, *seen)
    steps = put(jax.eval_shape(run.observe, *seen)[1], whole)
  compiling.start(run.estimate, batch, state.credit, steps)
  chosen = jax.ShapeDtypeStruct(
    (rows,), jnp.bool_, sharding=sharding.batch_sharding(mesh, 1)
  )
  compiling.start(run.weigh, batch, chosen)
  compiling.start(run.zeros, state.params, batch)
  compiling.start(run.advance, state)
