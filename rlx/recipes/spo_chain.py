"""SPO-chain: what each stretch between uncertain tokens did for the chances."""

from rlx import credit, objective, ranges
from rlx.credit import gains, keep
from rlx.recipes import recipe
from rlx.rollout import segments
from rlx.rollout.plans import chain, judge


def spo_chain(
  *,
  threshold: float = 0.9,
  interval: int = 5,
  continuations: int = 9,
  max_tokens: int | None = None,
  max_steps: int = 16,
  whiten: bool = False,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """The change of the chance of success over a segment, on uncertain tokens.

      A = V(end of the segment) - V(its beginning)
      V(prefix) = mean outcome of `continuations`, V(the end) = the outcome

  A completion is cut before every `interval`-th token of probability below
  `threshold`. What stands before the first cut gets 0, for want of a value
  before it, and so does a completion without a cut. Only tokens of probability
  below `threshold` are learnt from. The steps of an episode are its turns.

  Args:
    threshold: of the probability of an uncertain token.
    interval: uncertain tokens from one cut to the next.
    continuations: of each prefix, for its value. One that runs into a limit
      counts as a failure.
    max_tokens: of a continuation; None for what a completion may have.
    max_steps: segments of a completion. Where there would be more, the interval
      becomes a multiple of itself.
    whiten: standardise the advantages over the tokens learnt from.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Guo et al. 2025, arXiv:2505.23564, SPO-chain. [code]
  """
  ranges.between(0, 1, threshold=threshold)
  ranges.at_least(1, interval=interval, continuations=continuations)
  ranges.at_least(1, max_tokens=max_tokens, max_steps=max_steps)
  white = credit.standardise(vote="tokens", eps=1e-8)
  return recipe.Recipe(
    name="spo_chain",
    credit=credit.chain(gains.gain(), *[white] * whiten),
    objective=objective.clipped(clip, terms),
    formula="A = " + "whiten of " * whiten + "value_after - value_before"
    f" on segments cut({threshold}, {interval})",
    source="Guo et al. 2025, arXiv:2505.23564, SPO-chain",
    confidence="code",
    departures=(
      "terms.kl_coef is 0, theirs 1e-4, which takes a reference model",
      "log-ratios are limited to 20, theirs to 10, and a mini-batch whose mean"
      " ratio is above 10 is not left out",
      "at most max_steps segments; theirs have no bound",
      "with whiten and no uncertain token at all the advantages are 0; theirs"
      " are standardised over all tokens",
    ),
    evidence=("value_before", "value_after", "tokens"),
    plan=chain.chain(
      segments.cut(threshold, interval),
      judge.Judge(continuations, max_tokens),
      max_steps=max_steps,
      certain=threshold,
    ),
    keep=keep.uncertain(threshold),
    verbs=("sample", "continue_from"),
  )
