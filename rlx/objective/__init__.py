"""Objectives: losses per token, divergences, and one reduction."""

from rlx.objective.log_probs import token_log_probs
from rlx.objective.losses import (
  cispo,
  clipped,
  geometric_mean,
  gradient_preserving,
  reinforce,
  sapo,
)
from rlx.objective.objective import Objective, TokenInputs, make
from rlx.objective.settings import Clip, Terms, ValueTerm

__all__ = [
  "Clip",
  "Objective",
  "Terms",
  "TokenInputs",
  "ValueTerm",
  "cispo",
  "clipped",
  "geometric_mean",
  "gradient_preserving",
  "make",
  "reinforce",
  "sapo",
  "token_log_probs",
]
