"""Objectives by name: a surrogate, and what stands beside it."""

import functools
import math

from rlx.objective import filters, objective, settings, surrogates


def clipped(
  clip: settings.Clip,
  terms: settings.Terms,
  value: settings.ValueTerm | None = None,
) -> objective.Objective:
  """The clipped surrogate with the terms beside it.

  With `clip.ratio_level` "sequence" it is GSPO's, with "step" the same of each
  step.
  """
  surrogate = functools.partial(
    surrogates.clipped,
    epsilon_low=clip.epsilon_low,
    epsilon_high=clip.epsilon_high,
    dual_clip=clip.dual_clip,
  )
  return objective.make(surrogate, terms, clip=clip, value=value)


def reinforce(
  terms: settings.Terms,
  value: settings.ValueTerm | None = None,
  keep: filters.Filter | None = None,
) -> objective.Objective:
  """The plain policy gradient, without a ratio, with the terms beside it.

  Args:
    keep: which tokens are learnt from, as in MIS-PO; None for all.
  """
  return objective.make(surrogates.reinforce, terms, value=value, keep=keep)


def cispo(clip: settings.Clip, terms: settings.Terms) -> objective.Objective:
  """The policy gradient weighed by the clipped ratio."""
  surrogate = functools.partial(
    surrogates.cispo,
    epsilon_low=clip.epsilon_low,
    epsilon_high=clip.epsilon_high,
  )
  return objective.make(surrogate, terms, clip=clip)


def gradient_preserving(
  clip: settings.Clip,
  terms: settings.Terms,
  *,
  above: float = 1.0,
  below: float = 1.0,
) -> objective.Objective:
  """The clipped surrogate with a constant gradient where it has none."""
  surrogate = functools.partial(
    surrogates.gradient_preserving,
    epsilon_low=clip.epsilon_low,
    epsilon_high=clip.epsilon_high,
    above=above,
    below=below,
  )
  return objective.make(surrogate, terms, clip=clip)


def sapo(
  terms: settings.Terms,
  *,
  temperature_positive: float = 1.0,
  temperature_negative: float = 1.05,
) -> objective.Objective:
  """The soft gate on the ratio, with the terms beside it.

  Raises:
    ValueError: a temperature is not positive.
  """
  for sign, tau in (
    ("positive", temperature_positive),
    ("negative", temperature_negative),
  ):
    if tau <= 0:
      raise ValueError(f"temperature_{sign}={tau}: must be above 0")
  surrogate = functools.partial(
    surrogates.sapo,
    temperature_positive=temperature_positive,
    temperature_negative=temperature_negative,
  )
  return objective.make(surrogate, terms)


def geometric_mean(
  terms: settings.Terms,
  *,
  epsilon_low: float = 0.4,
  epsilon_high: float = 0.4,
) -> objective.Objective:
  """GMPO: one ratio per row, of log-ratios that are clipped per token.

  Args:
    epsilon_low: how far below 0, in nats, the log-ratio of a token may go,
    epsilon_high: and how far above.
  """
  surrogate = functools.partial(
    surrogates.geometric_mean,
    epsilon_low=epsilon_low,
    epsilon_high=epsilon_high,
  )
  # The same range as ratios, whose crossings are counted.
  counted = settings.Clip(-math.expm1(-epsilon_low), math.expm1(epsilon_high))
  return objective.make(surrogate, terms, clip=counted)
