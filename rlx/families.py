"""Every environment that comes with rlx, as a value; `rlx envs` lists them."""

from typing import Any, NamedTuple

from rlx import prompts
from rlx.config import spec
from rlx.data import splits
from rlx.envs import (
  alfworld,
  arithmetic,
  bandit,
  extras,
  frozen_lake,
  gymnasium_task,
  key_value,
  long_horizon,
  procbench,
  reasoning_gym,
  search,
  sokoban,
  stepgame,
  textworld,
)
from rlx.rewards import math_answer
from rlx.tools import multi_hop, python, sums, word_problems
from rlx.tools import task as tool_task


class Family(NamedTuple):
  """A family of episodes, or of prompts.

  Attributes:
    name: as the command line spells it.
    task: with its defaults; what an experiment has as `task`.
    line: what is to be done.
    packages: what must be installed, beyond what rlx installs.
    extra: the extra of rlx that installs them.
  """

  name: str
  task: Any
  line: str
  packages: tuple[str, ...] = ()
  extra: str = ""

  def installed(self) -> bool:
    """Returns whether all it needs is there."""
    return all(map(extras.installed, self.packages))


_CARTPOLE = gymnasium_task.GymnasiumTask(
  id="CartPole-v1",
  actions=("left", "right"),
  observations=("position", "velocity", "angle", "spin"),
  success_above=99.0,  # A reward a turn: the pole stood to the end.
)
_CLIFF = gymnasium_task.GymnasiumTask(
  id="CliffWalking-v1",
  actions=("up", "right", "down", "left"),
  draw=True,
  turns=30,
)

ALL: tuple[Family, ...] = (
  # Games.
  Family("frozen-lake", frozen_lake.FrozenLake(), "reach G, fall into no O"),
  Family("sokoban", sokoban.Sokoban(), "push every box onto a target"),
  Family(
    "key-value", key_value.KeyValue(), "keep pairs, answer for them later"
  ),
  Family("bandit", bandit.Bandit(), "find the best arm of each context"),
  Family("cartpole", _CARTPOLE, "Gymnasium by id, in numbers: balance a pole"),
  Family(
    "cliff", _CLIFF, "Gymnasium by id, as it draws itself: x to T, not by C"
  ),
  Family(
    "textworld",
    textworld.TextWorld(),
    "win a generated adventure in text",
    ("textworld",),
    "textworld",
  ),
  Family(
    "alfworld",
    alfworld.AlfWorld(),
    "do a household task, generated from PDDL",
    ("alfworld", "textworld", "fast_downward"),
    "alfworld",
  ),
  # Reasoning, a step a turn.
  Family("search", search.Search(), "answer over several hops with a search"),
  Family("procbench", procbench.ProcBench(), "follow one of 23 procedures"),
  Family("stepgame", stepgame.StepGame(), "where is X, seen from Y?"),
  Family("long-horizon", long_horizon.LongHorizon(), "keep a running sum"),
  # Tools.
  Family(
    "calculator",
    tool_task.ToolTask(
      data=spec(word_problems.problems, skill=1.0),
      tools=(word_problems.calculate,),
      rewards=(arithmetic.correct_result,),
      respond=word_problems.respond,
      vocabulary=word_problems.WORDS,
      turns=4,
    ),
    "word problems, with a calculator as a tool",
  ),
  Family(
    "python-tool",
    tool_task.ToolTask(
      data=spec(sums.problems),
      tools=(spec(python.python),),
      rewards=(arithmetic.correct_result,),
      turns=4,
    ),
    "sums and differences, with Python in a sandbox",
  ),
  Family(
    "multi-hop",
    multi_hop.MultiHop(),
    "questions over several documents, search",
  ),
  # One answer.
  Family(
    "arithmetic",
    prompts.PromptTask(
      data=spec(splits.arithmetic),
      rewards=(arithmetic.correct_result,),
      vocabulary=arithmetic.WORDS,
    ),
    "sums and differences",
  ),
  Family(
    "gsm8k",
    prompts.PromptTask(data=spec(splits.gsm8k), rewards=(math_answer.correct,)),
    "school problems; needs the files, see --data.directory",
  ),
  Family(
    "reasoning-gym",
    prompts.PromptTask(
      data=spec(reasoning_gym.problems), rewards=(reasoning_gym.score,)
    ),
    "over a hundred generators, as --data.datasets maze logic",
    ("reasoning_gym",),
    "reasoning-gym",
  ),
  Family(
    "procbench-whole",
    prompts.PromptTask(
      data=spec(procbench.problems),
      rewards=(
        procbench.prefix_accuracy,
        procbench.sequential_match,
        procbench.final_match,
      ),
      reward_weights=(1.0, 0.0, 0.0),
    ),
    "a procedure with all its states in one answer",
  ),
  Family(
    "stepgame-answer",
    prompts.PromptTask(
      data=spec(stepgame.problems), rewards=(stepgame.correct_relation,)
    ),
    "where is X, seen from Y, in one answer",
  ),
  Family(
    "long-horizon-probe",
    prompts.PromptTask(
      data=spec(long_horizon.probes, error_rate=0.3),
      rewards=(long_horizon.correct_sum,),
    ),
    "the sum after a history in which answers may be wrong",
  ),
)
