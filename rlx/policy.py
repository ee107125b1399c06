"""Policy, Reference and Value: pairs of pure functions over parameter trees.

The core of rlx never imports `rlx.models`. It is handed these tuples, so every
algorithm can be tested with a softmax over seven numbers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Params = Any  # A pytree of arrays.
Cache = Any  # A pytree of arrays; its leaves have `rows` as a leading axis.
Pool = Any  # The same, with `pages` as a leading axis.


class Policy(NamedTuple):
  """A language model as pure functions.

  Attributes:
    init: `(key) -> params`, float32 masters; the key is consumed.
    apply: `(params, tokens[B L], positions[B L], segments[B L], last=None,
      layout=None) -> hidden[B L D]`, final features. A token attends to earlier
      tokens of the same row with the same segment id; segment 0 is padding.
      With `last` [B L], a row is a forest: segments number its nodes in
      preorder, `last` is the last number within the node's subtree (0 in
      padding), and token `i` attends to the tokens `j <= i` of its path, those
      with `segments[j] <= segments[i] <= last[j]`. `layout` (static) promises
      that the row is `(trunk, branches, branch)`: `trunk` columns and then
      `branches` times `branch` that see their own and the trunk's only; it may
      be ignored. Whose `apply` takes neither is trained on plain rows.
    logits: `(params, hidden[... D]) -> float32[... V]`. Separate from `apply`
      so that `[B, L, V]` need never exist.
    init_cache: `(rows, length) -> cache`, zeros.
    extend: `(params, cache, tokens[B C], positions[B C], window, trunk=None,
      cut=None) -> (hidden[B C D], cache)`: the cached form of `apply`. Row `b`'s
      keys are written at `positions[b]`, which must be contiguous from
      `positions[b,0]`, and a query at position `p` sees cache slots `0..p`.
      `window` (static) is an upper bound on `positions + 1`: slots beyond it are
      not read. Where it equals the chunk's length, the chunk begins at position
      0, and the cache is not read at all. Positions written past the end of
      what is valid are overwritten by later calls; what would be written before
      slot 0, as of rows that wait, is dropped.
      With a `trunk`, a cache of T rows that is read and never written, B is a
      multiple of T, and row `b` continues the first `cut[b]` slots of trunk row
      `b // (B / T)`: it sees these, and slot `s` of its own holds position
      `cut[b] + s`. `positions - cut + 1` is then what `window` bounds.
    init_pages: `(pages, size) -> pool`, zeros: slots that finished sequences are
      kept in, of which each page has `size`.
    load: `(pool, table[T P], in_place=False) -> trunk`: row `t` is pages
      `table[t]` one behind the other. What a number out of range gives is finite
      and nothing else. The trunk is a cache like any other, a copy; with
      `in_place` (static) it may be the pool itself, seen through the table,
      where the devices can read that. It is then only for `extend` and `store`
      in the same program, and every device needs the pool whole, or its own
      within `jax.shard_map`.
    store: `(pool, pages[M], start[M], rows[M], cache, trunk=None, cut=None) ->
      pool`: page `pages[m]` gets what row `rows[m]` of the cache, or the trunk
      where that is meant, has at the positions from `start[m]` on. A page number
      out of range is dropped.
    axes: tree like params; each leaf a tuple of logical axis names.
    vocab_size: number of logits.
    prepare: `(params) -> params`, for many calls of `extend` and `logits`: what
      would be laid out or rounded anew in each is so once. The same where
      nothing is.
  """

  init: Callable[..., Params]
  apply: Callable[..., Any]
  logits: Callable[..., Any]
  init_cache: Callable[..., Cache]
  extend: Callable[..., Any]
  init_pages: Callable[..., Pool]
  load: Callable[..., Cache]
  store: Callable[..., Pool]
  axes: Any
  vocab_size: int
  prepare: Callable[..., Params] = lambda params: params


class Value(NamedTuple):
  """A state-value function.

  Attributes:
    init: `(key) -> params`.
    apply: `(params, tokens, positions, segments, trunk_hidden[B L D]) ->
      float32[B L]`: entry `t` is the estimated return from before token `t`,
      computed from tokens `< t` only.
    axes: tree like params, logical axis names.
  """

  init: Callable[..., Params]
  apply: Callable[..., Any]
  axes: Any
