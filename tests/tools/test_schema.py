"""Functions as schemas: as transformers has them, and kept to."""

from typing import Any, Literal

import pytest

from rlx.tools import schema


def weather(
  city: str,
  days: int,
  detail: Literal["low", "high"] = "low",
  scale: float = 1.0,
  tags: list[str] | None = None,
  limits: dict[str, int] | None = None,
  exact: bool | None = None,
):
  """Forecasts the weather.

  Over two lines.

  Args:
    city: Where,
      in full.
    days: How many days.
    detail: How much.
    scale: Of numbers.
    tags: To look for.
    limits: Of each.
    exact: Whether rounded.

  Returns:
    Text.
  """
  return city


def test_a_function_becomes_its_schema():
  about = schema.of(weather)["function"]
  assert about["name"] == "weather"
  assert about["description"] == "Forecasts the weather.\n\nOver two lines."
  assert about["parameters"]["required"] == ["city", "days"]
  got = about["parameters"]["properties"]
  assert got["city"] == {"type": "string", "description": "Where, in full."}
  assert got["detail"]["enum"] == ["low", "high"]
  assert got["tags"]["items"] == {"type": "string"}
  assert got["tags"]["nullable"]
  assert got["limits"]["additionalProperties"] == {"type": "integer"}


def test_it_is_what_transformers_makes_of_it():
  from transformers.utils import chat_template_utils

  assert schema.of(weather) == chat_template_utils.get_json_schema(weather)


@pytest.mark.parametrize(
  "arguments, message",
  [
    ({}, "argument 'city' is missing"),
    ({"city": "x", "days": 1, "z": 1}, "unknown argument 'z'; .* city, days"),
    ({"city": 1, "days": 1}, "'city' must be of type string, not '1'"),
    ({"city": "x", "days": 1.5}, "'days' must be of type integer"),
    ({"city": "x", "days": True}, "'days' must be of type integer"),
    ({"city": "x", "days": 1, "detail": "mid"}, "must be one of"),
    ({"city": "x", "days": 1, "tags": [1]}, "'tags' must be of type string"),
    ({"city": "x", "days": 1, "limits": {"a": "b"}}, "'limits' must be"),
    ({"city": None, "days": 1}, "'city' must be of type string"),
    ([], "must be a JSON object"),
    (None, "must be a JSON object"),
  ],
)
def test_wrong_arguments_are_named(arguments, message):
  parameters = schema.of(weather)["function"]["parameters"]
  with pytest.raises(ValueError, match=message):
    schema.check(parameters, arguments)


def test_right_arguments_pass():
  parameters = schema.of(weather)["function"]["parameters"]
  for more in ({}, {"tags": None}, {"tags": ["a"], "scale": 2, "exact": True}):
    given = {"city": "x", "days": 1, **more}
    assert schema.check(parameters, given) == given


def test_what_cannot_be_described_is_refused():
  def bare(x: int):
    return x

  def untyped(x):
    """Does."""
    return x

  def odd(x: bytes):
    """Does."""
    return x

  def many(*x: int):
    """Does."""
    return x

  def any_of(x: Any, y: int | str):
    """Does."""
    return x, y

  for function, message in (
    (bare, "bare: it has no docstring"),
    (untyped, "argument 'x' has no type"),
    (odd, "odd.x: .*bytes.* is no type"),
    (many, r"\*x has no schema"),
  ):
    with pytest.raises(ValueError, match=message):
      schema.of(function)
  properties = schema.of(any_of)["function"]["parameters"]["properties"]
  assert properties == {"x": {}, "y": {"type": ["integer", "string"]}}
