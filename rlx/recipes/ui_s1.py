"""UI-S1: credit that flows only where the policy agrees with an expert."""

from typing import Literal

from rlx import credit, objective, ranges
from rlx.recipes import recipe
from rlx.rollout.plans import patched


def ui_s1(
  *,
  discount: float = 0.5,
  patches: int = 2,
  threshold: float = 0.3,
  episode_weight: float = 1.0,
  step_weight: float = 1.0,
  episode: Literal["outcome", "own"] = "outcome",
  vote: Literal["trajectory", "step"] = "trajectory",
  lone: Literal["zero", "raw"] = "zero",
  clip: objective.Clip = objective.Clip(epsilon_high=0.28, dual_clip=10.0),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """GRPO between episodes and between steps, along an expert's trajectory.

      Ret[t] = r[t] + discount match[t] match[t + 1] Ret[t + 1]
      A = episode_weight standardise(outcome, by prompt)
        + step_weight standardise(Ret, by prompt and index)

  The policy plays on behind its own actions while these are the expert's, and
  behind the expert's where they are not. Returns stop at a mismatch, which is
  learnt from with its own reward, for which see `evidence.agreement`.

  Args:
    discount: per step.
    patches: times that the expert helps in a trajectory; -1 for no limit.
    threshold: groups whose returns from step 0 have a population standard
      deviation up to it are left out. .1 in their configuration.
    episode_weight: of the comparison between episodes.
    step_weight: of the comparison between steps of one index.
    episode: compare outcomes of trajectories, or each row's own reward.
    vote: whether each trajectory or each step counts once among episodes.
    lone: what the only trajectory of a prompt gets, 0 or its signal.
    clip: range of the ratio, and bound of the loss of bad actions.
    terms: what stands beside the surrogate, and the reduction.

  Source: UI-S1 2025, arXiv:2509.11543. That episodes are compared by outcomes
  is the paper's, how is inferred. [code]
  """
  ranges.at_least(0, threshold=threshold)
  ranges.at_least(0, episode_weight=episode_weight, step_weight=step_weight)
  ranges.at_least(-1, patches=patches)
  signal = credit.outcome() if episode == "outcome" else credit.rewards()
  between_episodes = credit.standardise(
    by=("prompt",), vote="vote" if vote == "trajectory" else None, lone=lone
  )
  between_steps = credit.standardise(by=("prompt", "index"))
  return recipe.Recipe(
    name="ui_s1",
    credit=credit.add(
      credit.scale(credit.chain(signal, between_episodes), episode_weight),
      credit.scale(
        credit.chain(credit.linked_returns(discount), between_steps),
        step_weight,
      ),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = {episode_weight} standardise({episode}, by=prompt)"
    f" + {step_weight} standardise(linked_returns({discount}), by=prompt,index)",
    min_group=2,
    source="UI-S1 2025, arXiv:2509.11543",
    confidence="code",
    departures=(
      "outcomes between episodes, as the paper says (inferred); theirs is"
      " episode='own'",
      "one vote per trajectory; theirs is vote='step'",
      "a lone episode gets 0; theirs is lone='raw'",
      "groups without spread are left out of the loss; theirs samples others,"
      " up to 10 times",
      "terms.kl_coef is 0, theirs 1e-4, which takes a reference model",
      "the expert's action stands without a synthesised thought",
    ),
    evidence=("matched", "index"),
    plan=patched.patched(
      patches=patches, discount=discount, threshold=threshold
    ),
    verbs=("sample", "edit", "continue_from", "filter"),
  )
