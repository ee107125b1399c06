"""The quickstart with credit per trajectory: the same but for the recipe.

    rlx train quickstart-grpo

GRPO_OBSERVED
"""

import dataclasses

from rlx import experiment, recipes
from rlx.config import spec
from rlx.configs import quickstart


def get_config() -> experiment.TrainConfig:
  return dataclasses.replace(
    quickstart.get_config(),
    name="quickstart-grpo",
    recipe=spec(recipes.grpo, terms=quickstart.TERMS),
  )
