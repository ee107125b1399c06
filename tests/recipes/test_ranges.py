"""A hyper-parameter that is out of range is refused by name, at once."""

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable
from typing import Any

import pytest

from rlx import objective, ranges, recipes

# These may be negative, or anything.
SIGNED = {
  *("erl.alpha", "erl.beta", "oprl.threshold", "prime_gate.threshold"),
  *("rapo.success_above", "Terms.entropy_coef", "Terms.rejection_bound"),
}
SETTINGS = (objective.Clip, objective.Terms, objective.ValueTerm)


def arguments(kind: type) -> list[Any]:
  """Every argument of this kind, of every method and of what they share."""
  found = []
  for function in (*recipes.ALL, *SETTINGS):
    for name in inspect.signature(function).parameters:
      hint = typing.get_type_hints(function)[name]
      if kind in (hint, *typing.get_args(hint)):
        label = f"{function.__name__}.{name}"
        found.append(pytest.param(function, name, id=label))
  return found


def refused(function: Callable[..., Any], name: str, value: Any) -> None:
  with pytest.raises(
    ValueError, match=rf"(?s){name}={value}.*(must be|is not between)"
  ):
    function(**{name: value})


@pytest.mark.parametrize(("function", "name"), arguments(float))
def test_a_fraction_or_weight_is_a_number(function, name):
  refused(function, name, math.nan)
  if f"{function.__name__}.{name}" not in SIGNED:
    refused(function, name, -1.5)


@pytest.mark.parametrize(("function", "name"), arguments(int))
def test_no_count_is_negative(function, name):
  refused(function, name, -7)


@pytest.mark.parametrize(
  ("method", "name", "value"),
  [
    *[
      (m, "branches", v) for m in ("spo_tree", "tree_grpo") for v in ("", "2,")
    ],
    *[("branch_grpo", "branches", v) for v in ("0,2", "-1", "two", "²")],
    *[("fedmoa", "objectives", v) for v in ("", ",", "a,a")],
    ("vsrm", "end", ""),
  ],
)
def test_a_text_says_something(method, name, value):
  with pytest.raises(ValueError, match=f"{name}={value!r}: .*"):
    getattr(recipes, method)(**{name: value})


def test_none_is_in_every_range():
  ranges.at_least(1, tokens=None)
  assert dataclasses.is_dataclass(objective.Terms(importance_cap=None))
