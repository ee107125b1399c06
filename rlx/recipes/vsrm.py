"""VSRM: thoughts paid for what they did for an answer given at once."""

from typing import Literal

from rlx import credit, objective, ranges
from rlx.credit import gains
from rlx.recipes import recipe
from rlx.rollout import segments
from rlx.rollout.plans import chain, judge


def vsrm(
  *,
  discount: float = 0.7,
  look_ahead: int = 4,
  paid: Literal["after", "before"] = "after",
  continuations: int = 5,
  max_tokens: int = 768,
  first: int = 1000,
  apart: int = 400,
  end: str = "</think>",
  max_steps: int = 16,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """Rewards for thoughts after which an answer at once is more often right.

      d = accuracy behind the thought - accuracy before it
      r = d                         where |d| >= 1e-5
        = discount^k d[k later]     the next that is not flat, k <= look_ahead
      A = whiten of the sum of rewards from here to the end

  Reasoning is cut at ends of sentences before words of hesitation, and where it
  ends. The accuracy of a prefix is that of answers it is forced to by `end`.
  Before the first cut and behind the last nothing is judged; the outcome is
  paid at the end. A completion that is not cut has its outcome alone.

  Args:
    discount: per flat thought, of the next reward.
    look_ahead: how many thoughts ahead that may be.
    paid: "before" pays a thought's reward at the cut that it begins with, as
      the code does, so that its own tokens do not see it.
    continuations: answers for each prefix.
    max_tokens: of an answer; a longer one is wrong.
    first: characters before the first cut.
    apart: characters between two.
    end: what closes the reasoning.
    max_steps: of a completion; where there would be more, cuts are left out.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Yue et al. 2025, arXiv:2508.10293. [code]
  """
  ranges.between(0, 1, discount=discount)
  ranges.at_least(0, look_ahead=look_ahead, first=first, apart=apart)
  ranges.at_least(1, continuations=continuations, max_steps=max_steps)
  ranges.at_least(1, max_tokens=max_tokens)
  if not end:
    raise ValueError("end='': must be the text that closes the reasoning")
  thoughts = credit.chain(
    gains.gain(),
    gains.inner(),
    gains.look_ahead(discount, look_ahead),
    gains.inner(),
    *[gains.sooner()] * (paid == "before"),
  )
  return recipe.Recipe(
    name="vsrm",
    credit=credit.chain(
      credit.add(thoughts, credit.rewards()),
      credit.returns(1.0),
      credit.standardise(vote="tokens", eps=1e-8),
    ),
    objective=objective.clipped(clip, terms),
    formula="A = whiten(returns(reward + look_ahead(value_after -"
    f" value_before, {discount}, {look_ahead})))",
    source="Yue et al. 2025, arXiv:2508.10293",
    confidence="code",
    departures=(
      "a thought's reward is paid at its end; theirs is paid='before'",
      "with REINFORCE++; the paper has PPO too",
      "terms.kl_coef is 0, theirs 1e-3, which takes a reference model",
      "answers are sampled as the policy is; theirs at temperature 0.6 with"
      " top-p 0.95",
      "at most max_steps thoughts; theirs have no bound",
      "where end no longer fits in a completion nothing is judged",
    ),
    evidence=("value_before", "value_after", "tokens"),
    plan=chain.chain(
      segments.words(first=first, apart=apart, end=end),
      judge.Judge(continuations, max_tokens, suffix=end),
      max_steps=max_steps,
    ),
    verbs=("sample", "edit", "continue_from"),
  )
