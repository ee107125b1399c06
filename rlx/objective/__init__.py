"""Objectives: losses per token, divergences, and one reduction."""

from rlx.objective.log_probs import token_log_probs
from rlx.objective.objective import (
  Objective,
  TokenInputs,
  clipped,
  make,
  reinforce,
)
from rlx.objective.settings import Clip, Terms, ValueTerm

__all__ = [
  "Clip",
  "Objective",
  "Terms",
  "TokenInputs",
  "ValueTerm",
  "clipped",
  "make",
  "reinforce",
  "token_log_probs",
]
