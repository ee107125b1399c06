"""SRGPO: process rewards compared within groups of steps drawn at random."""

from typing import Literal

from rlx import credit, objective, ranges
from rlx.recipes import recipe


def srgpo(
  *,
  group_rows: int = 16,
  scope: Literal["batch", "prompt"] = "batch",
  step_weight: float = 0.5,
  scale: bool = True,
  vote: Literal["trajectory", "step"] = "trajectory",
  lone: Literal["zero", "raw"] = "zero",
  seed: int = 0,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """GRPO between episodes, and between steps that a draw put side by side.

      A = standardise(R, by prompt)
        + step_weight * standardise(process, by random groups of rows)

  A verifier's score of a step that means the same in every state needs no peers
  from the same state: any other steps will do. It is not carried back to
  earlier steps.

  Args:
    group_rows: of a random group; the last may be smaller, and alone gets 0.
      -1, or more than there are, for one group of all.
    scope: whether random groups mix the rows of all prompts, or of one.
    step_weight: of the comparison between steps; 0 gives GRPO.
    scale: divide both by the standard deviation of their group.
    vote: whether each trajectory or each step counts once among episodes.
    lone: what the only trajectory of a prompt gets, 0 or its outcome.
    seed: of the draws.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: SeeNav-Agent 2025, arXiv:2512.02631. [code]
  """
  ranges.at_least(0, step_weight=step_weight, seed=seed)
  ranges.at_least(-1, group_rows=group_rows)
  by = "std" if scale else None
  episode = credit.standardise(
    by=("prompt",),
    vote="vote" if vote == "trajectory" else None,
    scale=by,
    lone=lone,
  )
  step = credit.standardise_at_random(
    group_rows,
    within=("prompt",) if scope == "prompt" else (),
    seed=seed,
    scale=by,
  )
  return recipe.Recipe(
    name="srgpo",
    credit=credit.add(
      credit.chain(credit.outcome(), episode),
      credit.scale(credit.chain(credit.evidence("process"), step), step_weight),
    ),
    objective=objective.clipped(clip, terms),
    formula="A = standardise(outcome, by=prompt) + "
    f"{step_weight} standardise(process, by=random {group_rows} of a {scope})",
    source="SeeNav-Agent 2025, arXiv:2512.02631",
    confidence="code",
    departures=(
      "one vote per trajectory; theirs is vote='step'",
      "a lone episode gets 0; theirs is lone='raw'",
      "scope='prompt' groups within a prompt; in their code an else branch"
      " overwrites it",
      "terms.kl_coef is 0, theirs 0.01, which takes a reference model",
      "penalties of 0.1 on invalid actions and on length are the environment's",
    ),
    evidence=("process",),
    verbs=("sample", "score"),
  )
