"""Rewards that steer long tool use, and which prompts are solved (RAPO)."""

import numpy as np
from jaxtyping import Bool, Float


def steerable_reward(
  *,
  correct: bool,
  format_score: float,
  calls: int,
  unique_searches: int,
  redundant_searches: int,
  unique_queries: int,
  redundant_queries: int,
  search_weight: float = 0.2,
  query_weight: float = 0.2,
  search_cap: int = 8,
  query_cap: int = 16,
) -> float:
  """The reward of a trajectory of tool calls, of which a judge said the kind.

      rho = (redundant searches + redundant queries) / calls
      correct: 0.1 format + max(1 - rho, 0.5)
      wrong:   0.1 format + c_1 min(1, D_S / C_S) + c_2 min(1, D_Q / C_Q)

  with D = unique - redundant. So a correct answer loses by idle calls, at most
  half of it, and a wrong one gains by looking further; D may be negative, which
  is a penalty. Without a call rho is 0.

  Args:
    correct: whether the answer was.
    format_score: 0 to 1.
    calls: of any tool.
    unique_searches: that brought something new.
    redundant_searches: that did not.
    unique_queries: of pages, to explore or, within budget, to verify.
    redundant_queries: the others.
    search_weight: c_1.
    query_weight: c_2.
    search_cap: C_S.
    query_cap: C_Q.

  Source: Singh et al. 2025 (Fathom-DeepResearch), arXiv:2509.24107.
  """
  paid = 0.1 * format_score
  if correct:
    idle = redundant_searches + redundant_queries
    return paid + max(1 - (idle / calls if calls else 0.0), 0.5)
  searches = (unique_searches - redundant_searches) / search_cap
  queries = (unique_queries - redundant_queries) / query_cap
  return (
    paid + search_weight * min(1, searches) + query_weight * min(1, queries)
  )


def solved(
  outcomes: Float[np.ndarray, "P G"], threshold: float = 0.5, rate: float = 0.9
) -> Bool[np.ndarray, " P"]:
  """Whether a prompt teaches no more: its outcomes above `threshold` are at
  least `rate` of them. Such prompts are left out of the next epoch.

  Source: arXiv:2509.24107, which states the threshold only loosely.
  """
  return (outcomes > threshold).mean(-1) >= rate
