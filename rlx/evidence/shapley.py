"""What each of several agents brought to a result that is theirs together."""

import itertools
import math
from collections.abc import Callable

# The result of a coalition: which agents took part.
Value = Callable[[frozenset[int]], float | int]


def shapley(value: Value, agents: int) -> list[float]:
  """Shapley values: an agent's mean contribution over all orders of joining.

      phi_m = sum over S without m of
              |S|! (n - |S| - 1)! / n! * (v(S and m) - v(S))

  They sum to v(all) - v(nobody). Asks for the value of all 2^n coalitions.

  Source: Shapley 1953; as the exact form of what SHARP (arXiv:2602.08335)
  approximates by `leave_one_out`.
  """
  everyone = range(agents)
  values = {
    frozenset(some): value(frozenset(some))
    for size in range(agents + 1)
    for some in itertools.combinations(everyone, size)
  }
  weight = lambda size: 1 / (agents * math.comb(agents - 1, size))
  return [
    sum(
      weight(len(some)) * (values[some | {agent}] - v)
      for some, v in values.items()
      if agent not in some
    )
    for agent in everyone
  ]


def leave_one_out(value: Value, agents: int) -> list[float]:
  """v(all) - v(all but one) for each agent, from n + 1 values.

  They need not sum to anything: where all are needed, each is all there is.

  Source: SHARP 2026, arXiv:2602.08335 (masking). [note]
  """
  everyone = frozenset(range(agents))
  total = value(everyone)
  return [float(total - value(everyone - {m})) for m in range(agents)]
