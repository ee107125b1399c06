"""Step-level credit: which step of which trajectory earned the reward.

`kernels` are the three reductions, `links` what is built from them, `tokens`
carries credit between the step table and the tokens.
"""

from rlx.credit.estimator import (
  Estimator,
  add,
  advantages,
  chain,
  column,
  scale,
  stateless,
)
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
from rlx.credit.table import step_table
from rlx.credit.tokens import spread, token_table

__all__ = [
  "Estimator",
  "add",
  "advantages",
  "chain",
  "clip",
  "column",
  "evidence",
  "gae",
  "lambda_returns",
  "merge",
  "outcome",
  "returns",
  "rewards",
  "scale",
  "spread",
  "standardise",
  "stateless",
  "step_table",
  "token_table",
  "whiten",
]
