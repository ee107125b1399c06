"""Policy, Reference and Value: pairs of pure functions over parameter trees.

The core of rlx never imports `rlx.models`. It is handed these tuples, so every
algorithm can be tested with a softmax over seven numbers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Params = Any  # A pytree of arrays.
Cache = Any  # A pytree of arrays; its leaves have `rows` as a leading axis.


class Policy(NamedTuple):
  """A language model as pure functions.

  Attributes:
    init: `(key) -> params`, float32 masters; the key is consumed.
    apply: `(params, tokens[B L], positions[B L], segments[B L]) ->
      hidden[B L D]`, final features. A token attends to earlier tokens of the
      same row with the same segment id; segment 0 is padding.
    logits: `(params, hidden[... D]) -> float32[... V]`. Separate from `apply`
      so that `[B, L, V]` need never exist.
    init_cache: `(rows, length) -> cache`, zeros.
    extend: `(params, cache, tokens[B C], positions[B C], window) ->
      (hidden[B C D], cache)`: the cached form of `apply`. Row `b`'s keys are
      written at `positions[b]`, which must be contiguous from `positions[b,0]`,
      and a query at position `p` sees cache slots `0..p`. `window` (static) is
      an upper bound on `positions + 1`: slots beyond it are not read. Where it
      equals the chunk's length, the chunk begins at position 0, and the cache is
      not read at all. Positions written past the end of what is valid are
      overwritten by later calls.
    axes: tree like params; each leaf a tuple of logical axis names.
    vocab_size: number of logits.
  """

  init: Callable[..., Params]
  apply: Callable[..., Any]
  logits: Callable[..., Any]
  init_cache: Callable[..., Cache]
  extend: Callable[..., Any]
  axes: Any
  vocab_size: int


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
