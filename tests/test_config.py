"""A configuration is data: found, changed, written and read back unharmed."""

import dataclasses
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlx import command_line, config


def method(
  *,
  discount: float = 0.95,
  level: Literal["turn", "token"] = "turn",
  scale: bool = True,
  cap: int | None = None,
):
  """A method.

  More of it.

  Args:
    discount: per step, in (0, 1];
      over two lines.
    level: what a row is.
  """
  return ("built", discount, level, scale, cap)


def other(*, discount: float = 0.5):
  return ("other", discount)


def reward(text: str) -> float:
  return float(len(text))


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """How parameters move."""

  learning_rate: float = 1e-3
  """Peak rate."""
  betas: tuple[float, float] = (0.9, 0.95)
  max_norm: float = math.inf


@dataclasses.dataclass(frozen=True)
class Train:
  """A run."""

  recipe: object = dataclasses.field(
    default_factory=lambda: config.spec(method)
  )
  rewards: tuple[object, ...] = ()
  optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
  score: Callable[[str], float] = reward
  seed: int = 0
  """Of everything."""
  note: str | None = None

  def __post_init__(self):
    if self.seed < 0:
      raise ValueError(f"seed: {self.seed} is negative; it must be 0 or more")


ALIASES = {
  "learning-rate": "optimizer.learning-rate",
  "gamma": "recipe.discount",
  "beta": "recipe.kl_coef",
}
HERE = (sys.modules[__name__],)
CONFIG = Train()


def override(*args):
  return config.override(CONFIG, args, ALIASES, prog="rlx train x")


def refused(capsys, *args):
  """What stderr says about bad arguments, white space and frames dropped."""
  with pytest.raises(SystemExit) as e:
    override(*args)
  assert e.value.code == 2
  out, err = capsys.readouterr()
  assert out == ""
  assert "Traceback" not in err
  assert len(err.splitlines()) < 12
  return " ".join(err.replace("│", " ").split())


# Specs.


def test_a_spec_calls_its_function_with_its_fields():
  assert config.spec(method).build() == ("built", 0.95, "turn", True, None)
  got = config.spec(method, discount=1, cap=3)
  assert got.build() == ("built", 1.0, "turn", True, 3)
  assert type(got.discount) is float


def test_specs_are_equal_when_their_function_and_arguments_are():
  assert config.spec(method) == config.spec(method, discount=0.95)
  assert config.spec(method) != config.spec(method, discount=0.9)
  assert config.spec(other) != config.spec(method, discount=0.5)
  assert len({config.spec(method), config.spec(method)}) == 1
  assert dataclasses.replace(config.spec(other), discount=0.1).build() == (
    "other",
    0.1,
  )


def test_a_spec_can_be_sent_to_another_process():
  spec = config.spec(method, discount=0.5)
  assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
  "arguments, message",
  [
    ({"discont": 1.0}, "method has no argument 'discont'; nearest: discount"),
    ({"discount": "x"}, "method.discount: 'x' is not valid; expected float"),
    ({"level": "word"}, "'word' is not valid; expected 'turn' or 'token'"),
    ({"scale": 1}, "method.scale: 1 is not valid; expected bool"),
    ({"cap": True}, "method.cap: True is not valid; expected int or None"),
  ],
)
def test_a_bad_argument_of_a_spec_is_named(arguments, message):
  with pytest.raises(ValueError, match=message):
    config.spec(method, **arguments)


def test_a_function_that_is_no_spec_is_refused():
  def untyped(*, x=1):
    return x

  def positional(x: int = 1):
    return x

  def needy(*, x: int):
    return x

  with pytest.raises(ValueError, match="untyped: argument 'x' needs a type"):
    config.spec(untyped)
  with pytest.raises(ValueError, match="'x' must be keyword-only"):
    config.spec(positional)
  with pytest.raises(ValueError, match="needy needs the argument 'x'"):
    config.spec(needy)
  assert config.spec(needy, x=2).build() == 2


# The command line.


def test_any_field_is_changed_by_its_path():
  got = override(
    "--recipe.discount",
    "0.5",
    "--recipe.level=token",
    "--optimizer.betas",
    "0.8",
    "0.9",
    "--seed",
    "3",
    "--note=hello there",
  )
  want = Train(
    recipe=config.spec(method, discount=0.5, level="token"),
    optimizer=Optimizer(betas=(0.8, 0.9)),
    seed=3,
    note="hello there",
  )
  assert got == want


def test_dashes_are_underscores_and_nothing_is_nothing():
  same = override("--optimizer.learning_rate", "2")
  assert same == override("--optimizer.learning-rate=2")
  assert type(same.optimizer.learning_rate) is float
  assert override() == CONFIG


@pytest.mark.parametrize(
  "args, want",
  [
    (["--recipe.no-scale"], False),
    (["--recipe.scale=false"], False),
    (["--recipe.scale", "False", "--seed", "0"], False),
    (["--recipe.scale", "--seed", "0"], True),
    (["--recipe.scale", "yes"], True),
  ],
)
def test_a_flag_may_be_spelled_in_any_way(args, want):
  assert override(*args).recipe == config.spec(method, scale=want)


def test_specs_in_a_tuple_are_changed_by_their_number():
  base = Train(rewards=(config.spec(other), config.spec(method)))
  got = config.override(base, ["--rewards.1.discount", "0.25"])
  want = (config.spec(other), config.spec(method, discount=0.25))
  assert got.rewards == want


def test_aliases_work_with_a_notice_of_one_line(capsys):
  got = override("--learning-rate", "0.5", "--gamma=0.25")
  assert got.optimizer.learning_rate == 0.5
  assert got.recipe == config.spec(method, discount=0.25)
  assert capsys.readouterr().err.splitlines() == [
    "note: --learning-rate is --optimizer.learning-rate",
    "note: --gamma is --recipe.discount",
  ]


@pytest.mark.parametrize(
  "args, said",
  [
    (
      ["--recipe.discont", "1"],
      "no field --recipe.discont; nearest: --recipe.d",
    ),
    (["--recipe.discont", "1"], "; --recipe has "),
    (["--learning-rte", "1"], "nearest: --optimizer.learning-rate"),
    (["--xyz", "1"], "no field --xyz; nearest: --"),
    (["--beta", "1"], "--beta stands for --recipe.kl-coef, which this config"),
    (["seed", "1"], "unexpected 'seed'; fields are given as --field value"),
    (["--seed", "x"], "--seed: invalid literal for int() with base 10: 'x'"),
    (["--seed", "x"], "--seed INT"),
    (["--seed"], "Missing value for argument '--seed'"),
    (["--seed", "-1"], "seed: -1 is negative; it must be 0 or more"),
    (
      ["--recipe.level", "a"],
      "'a' for argument '--recipe.level'. Expected one",
    ),
    (
      ["--recipe.scale=maybe"],
      "--recipe.scale: 'maybe' is not valid; expected true",
    ),
    (
      ["--recipe.scale", "2"],
      "--recipe.scale: '2' is not valid; expected true",
    ),
  ],
)
def test_a_bad_argument_is_named_with_what_is_valid(capsys, args, said):
  assert said in refused(capsys, *args)


def test_help_teaches_every_field(capsys):
  with pytest.raises(SystemExit) as e:
    override("--help")
  assert e.value.code == 0
  text = " ".join(capsys.readouterr().out.replace("│", " ").split())
  for part in [
    "usage: rlx train x",
    "Of everything. (default: 0)",
    "Peak rate.",
    "--recipe.discount FLOAT per step, in (0, 1]; over two lines.",
    "--recipe.level {turn,token} what a row is. (default: turn)",
  ]:
    assert part in text


def test_a_field_is_explained_in_lines_that_are_full():
  text = "One\ntwo.\n\nThree:\n- four\n- five"
  want = "One two.\n\nThree:\n- four\n- five"
  assert command_line.unwrapped(text) == want
  assert command_line.unwrapped(lambda: text)() == want
  assert command_line.unwrapped(None) is None


# Files.


@pytest.fixture
def user_file(tmp_path):
  (tmp_path / "beside.py").write_text(
    "def task(*, size: int = 3):\n  return size\n"
  )
  path = tmp_path / "mine.py"
  path.write_text(
    "import dataclasses\n"
    "import beside\n"
    "from rlx import config\n"
    "@dataclasses.dataclass(frozen=True)\n"
    "class Mine:\n"
    "  task: object = config.spec(beside.task, size=4)\n"
    "def get_config():\n"
    "  return Mine()\n"
  )
  yield path
  sys.modules.pop("beside", None)


def test_a_config_may_be_a_file_of_the_user(user_file):
  before = list(sys.path)
  got = config.load(str(user_file))
  assert got.task.build() == 4
  assert sys.path == before


def test_a_config_of_the_user_is_read_back_with_its_module_only(user_file):
  module = config.load_module(str(user_file))
  want = module.get_config()
  tree = json.loads(json.dumps(config.to_json(want)))
  assert tree["type"] == "rlx_config_mine:Mine"
  assert config.from_json(tree, (module,)) == want
  with pytest.raises(ValueError, match="rlx_config_mine:Mine is not part of"):
    config.from_json(tree)


@pytest.mark.parametrize("text", ["", "def get_config():\n  return {}\n"])
def test_a_file_without_a_config_is_refused(tmp_path, text):
  path = tmp_path / "empty.py"
  path.write_text(text)
  with pytest.raises(ValueError, match=r"empty.py: .*get_config\(\)"):
    config.load(str(path))


def test_a_missing_config_lists_the_names(monkeypatch, tmp_path):
  for name in ["quickstart", "quickstart_grpo", "__init__"]:
    (tmp_path / f"{name}.py").touch()
  monkeypatch.setattr(config, "_DIRECTORY", tmp_path)
  assert config.names() == ["quickstart", "quickstart-grpo"]
  with pytest.raises(ValueError, match="'quikstart'; nearest: quickstart"):
    config.load("quikstart")
  with pytest.raises(ValueError, match=r"gone\.py: there is no such file"):
    config.load("gone.py")


# JSON.


def test_json_is_resolved_strict_and_read_back_equal():
  want = Train(
    recipe=config.spec(method, level="token"),
    rewards=(config.spec(other), Optimizer()),
    note="x",
  )
  text = json.dumps(config.to_json(want), allow_nan=False)
  tree = json.loads(text)
  assert config.from_json(tree, HERE) == want
  assert tree["recipe"] == {
    "type": f"{__name__}:method",
    "discount": 0.95,
    "level": "token",
    "scale": True,
    "cap": None,
  }
  assert tree["score"] == f"{__name__}:reward"
  assert tree["optimizer"]["betas"] == [0.9, 0.95]
  assert tree["optimizer"]["max_norm"] == "inf"


@settings(max_examples=30, deadline=None)
@given(
  st.floats(allow_nan=False),
  st.sampled_from(["turn", "token"]),
  st.none() | st.integers(),
  st.none() | st.text(),
  st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
)
def test_every_config_survives_json(discount, level, cap, note, betas):
  recipe = config.spec(method, discount=discount, level=level, cap=cap)
  want = Train(recipe=recipe, note=note, optimizer=Optimizer(betas=betas))
  tree = config.to_json(want)
  again = json.loads(json.dumps(tree, allow_nan=False))
  assert config.from_json(again, HERE) == want
  assert config.diff(tree, again) == []


def test_a_field_the_file_lacks_takes_its_default():
  tree = config.to_json(CONFIG)
  del tree["seed"]
  assert config.from_json(tree, HERE) == CONFIG


@pytest.mark.parametrize(
  "name",
  [
    "os:system",
    "subprocess:run",
    "rlx.config:importlib.import_module",
    "rlx.config:importlib",
    "rlx.nowhere:thing",
    "rlx.config:ABSENT",
    "builtins:eval",
    "nonsense",
    "a:b:c",
    3,
  ],
)
def test_a_file_cannot_name_code_from_elsewhere(name):
  with pytest.raises(ValueError, match=r"config\.recipe: "):
    config.from_json(
      {"type": f"{__name__}:Train", "recipe": {"type": name}}, HERE
    )
  with pytest.raises(ValueError, match="config"):
    config.from_json({"type": name})


@pytest.mark.parametrize(
  "change, message",
  [
    ({"sed": 1}, "config: Train has no field 'sed'; nearest: seed"),
    ({"seed": 1.5}, "config.seed: 1.5 is not valid; expected int"),
    ({"optimizer": 3}, "config.optimizer: 3 is not valid; expected Optimizer"),
    ({"score": "os:system"}, "config.score: os:system is not part of rlx"),
    ({"seed": -1}, "seed: -1 is negative"),
  ],
)
def test_a_bad_file_is_refused_by_field(change, message):
  with pytest.raises(ValueError, match=message):
    config.from_json(config.to_json(CONFIG) | change, HERE)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"score": lambda x: 0.0}, "config.score: .* has no name to be found by"),
    ({"recipe": reward}, r"config.recipe: .*use numbers.*spec\(function"),
    ({"note": {}}, "config.note: {} cannot be kept"),
  ],
)
def test_what_could_not_be_read_back_is_not_written(change, message):
  with pytest.raises(ValueError, match=message):
    config.to_json(dataclasses.replace(CONFIG, **change))


def test_differences_are_told_by_path():
  a, b = (
    config.to_json(x) for x in [CONFIG, override("--seed", "2", "--gamma", "1")]
  )
  assert config.diff(a, b) == [("recipe.discount", 0.95, 1.0), ("seed", 0, 2)]
  c = config.to_json(Train(recipe=config.spec(other)))
  assert config.diff(a, c) == [
    ("recipe.type", f"{__name__}:method", f"{__name__}:other")
  ]


@pytest.mark.parametrize(
  "a, b, want",
  [
    ({"x": 1}, {"x": 1.0}, [("x", 1, 1.0)]),
    ({"x": [1, 2]}, {"x": [1, 3]}, [("x.1", 2, 3)]),
    ({"x": [1]}, {"x": [1, 3]}, [("x", [1], [1, 3])]),
    ({"x": 1}, {}, [("x", 1, config.ABSENT)]),
    ({}, {"x": {"y": 1}}, [("x", config.ABSENT, {"y": 1})]),
    ({"x": {"y": None}}, {"x": {"y": None}}, []),
  ],
)
def test_differences_of_small_trees(a, b, want):
  assert config.diff(a, b) == want


def test_importing_configs_is_quick_enough_to_do_always():
  code = "import sys, rlx.config; sys.exit('tyro' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_file_is_run_again_only_when_it_has_changed(tmp_path):
  path = tmp_path / "counted.py"
  path.write_text("x = []")
  module = config.load_module(str(path))
  assert config.load_module(str(path)) is module
  path.write_text("x = [1]")
  assert config.load_module(str(path)).x == [1]
