"""Step-level credit: which step of which trajectory earned the reward.

`kernels` are the three reductions. Links are built from them: `links` are those
that nearly every method has, `groups` what a group is, `history`, `graph` and
`random_groups` other ways to find peers, `trees` and `gains` those on trees and
on values before and after a step, `columns`, `linked` and `products` those that
read evidence. `keep` narrows what is learnt from. `tokens` carries credit between
the step table and the tokens.
"""

from rlx.credit.chains import final
from rlx.credit.columns import at_step_end, bonus
from rlx.credit.estimator import (
  Estimator,
  add,
  advantages,
  chain,
  column,
  scale,
  stateless,
)
from rlx.credit.graph import graph_gae, graph_values
from rlx.credit.groups import share
from rlx.credit.history import before, over_histories, steps_before
from rlx.credit.linked import linked_returns
from rlx.credit.links import (
  clip,
  evidence,
  gae,
  lambda_returns,
  merge,
  outcome,
  returns,
  rewards,
  standardise,
  whiten,
)
from rlx.credit.products import above, multiply
from rlx.credit.random_groups import standardise_at_random
from rlx.credit.table import step_table
from rlx.credit.tokens import spread, token_table

__all__ = [
  "Estimator",
  "above",
  "add",
  "advantages",
  "at_step_end",
  "before",
  "bonus",
  "chain",
  "clip",
  "column",
  "evidence",
  "final",
  "gae",
  "graph_gae",
  "graph_values",
  "lambda_returns",
  "linked_returns",
  "merge",
  "multiply",
  "outcome",
  "over_histories",
  "returns",
  "rewards",
  "scale",
  "share",
  "spread",
  "standardise",
  "standardise_at_random",
  "stateless",
  "step_table",
  "steps_before",
  "token_table",
  "whiten",
]
