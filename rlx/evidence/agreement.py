"""How far an action agrees with an expert's, as a score of the step."""

from typing import Literal

# What an action has in common with the expert's, and what that is worth.
SCORES = {"none": 0.0, "parsed": 0.1, "type": 0.5, "exact": 1.0}


def step_score(
  well_formed: bool, agreement: Literal["none", "parsed", "type", "exact"]
) -> float:
  """0.1 [well formed] + 0.9 score of the agreement, in [0, 1].

      0 unparsable, 0.1 parsed, 0.5 of the expert's type, 1 exactly the expert's

  A step whose agreement is "exact" is one with the column "matched" 1.

  Source: UI-S1 2025, arXiv:2509.11543. [code]

  Raises:
    ValueError: there is no such agreement.
  """
  if agreement not in SCORES:
    raise ValueError(f"agreement={agreement!r} is none of {', '.join(SCORES)}")
  return 0.1 * well_formed + 0.9 * SCORES[agreement]
