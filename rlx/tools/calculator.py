"""A calculator: exact, bounded, and it executes nothing."""

import ast
import decimal
import functools
import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction

from rlx.tools import tool as tools

MAX_EXPRESSION = 1000  # Characters.
MAX_BITS = 4096  # Of a numerator or denominator.
_DIGITS = 15  # Of a value that is not exact.
_MAX_ARGUMENTS = 64


class CalculationError(tools.ToolError):
  """Why an expression has no value."""


def calculate(expression: str) -> str:
  """Works out an arithmetic expression exactly.

  Args:
    expression: of numbers, + - * / // % ** and parentheses, and of the
      functions abs, min, max, round, floor, ceil, sqrt, gcd, lcm and factorial,
      for instance "(3 + 4) / 2" or "sqrt(2) * 10".
  """
  return show(evaluate(expression))


def evaluate(expression: str) -> Fraction | float:
  """The value of an expression; a float only where it is not rational.

  Raises:
    CalculationError: it is none, has no value, or one too large.
  """
  text = expression.strip().translate(_TYPOGRAPHY).replace("^", "**")
  if len(text) > MAX_EXPRESSION:
    raise CalculationError(
      f"the expression has {len(text)} characters; {MAX_EXPRESSION} is the most"
    )
  # Python refuses 007, and would read 1,000 as two numbers.
  text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
  text = re.sub(r"(?<![\w.])0+(?=\d)", "", text)
  try:
    return _node(ast.parse(text, mode="eval").body, text)
  except (SyntaxError, MemoryError, RecursionError, ValueError):
    raise CalculationError(f"{expression[:80]!r} is not arithmetic") from None
  except ZeroDivisionError:
    raise CalculationError("division by zero") from None
  except (ArithmeticError, TypeError) as error:
    raise CalculationError(str(error)) from None


_TYPOGRAPHY = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})


def show(value: Fraction | float) -> str:
  """A value as text: whole, as a finite decimal, or as `1/3 ≈ 0.333`."""
  if isinstance(value, float):
    return f"{value:.{_DIGITS}g}"
  if value.denominator == 1:
    return str(value.numerator)
  twos, fives, rest = 0, 0, value.denominator
  while rest % 2 == 0:
    rest, twos = rest // 2, twos + 1
  while rest % 5 == 0:
    rest, fives = rest // 5, fives + 1
  places = max(twos, fives)
  if rest == 1 and places <= 30:
    exact = decimal.Decimal(value.numerator * 10**places // value.denominator)
    with decimal.localcontext(prec=2000):
      return str(exact.scaleb(-places))
  try:
    near = f" ≈ {float(value):.{_DIGITS}g}"
  except OverflowError:
    near = ""
  return f"{value.numerator}/{value.denominator}{near}"


def _node(node: ast.expr, text: str) -> Fraction | float:
  match node:
    case ast.Constant(value=bool() | complex() | str() | bytes() | None):
      raise CalculationError(f"{node.value!r} is no number")
    case ast.Constant():
      return _literal(ast.get_source_segment(text, node) or "")
    case ast.UnaryOp(op=ast.USub()):
      return -_node(node.operand, text)
    case ast.UnaryOp(op=ast.UAdd()):
      return _node(node.operand, text)
    case ast.BinOp() if type(node.op) in _OPERATORS:
      left, right = _node(node.left, text), _node(node.right, text)
      return _bounded(_OPERATORS[type(node.op)](left, right))
    case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
      if len(node.args) > _MAX_ARGUMENTS:
        raise CalculationError(f"{name} has {len(node.args)} arguments")
      values = [_node(argument, text) for argument in node.args]
      return _bounded(_FUNCTIONS[name](*values))
    case ast.Name(id=name) if name in _CONSTANTS:
      return _CONSTANTS[name]
    case ast.Name() | ast.Call():
      what = ast.get_source_segment(text, node) or "a name"
      known = ", ".join([*_FUNCTIONS, *_CONSTANTS])
      raise CalculationError(f"{what[:40]!r} is not known; known are {known}")
  raise CalculationError(f"{type(node).__name__} is not arithmetic")


def _literal(digits: str) -> Fraction:
  """A number from its text, as the constant has been rounded to a float."""
  digits = digits.replace("_", "").lower()
  mantissa, _, exponent = digits.partition("e")
  if digits.startswith(("0x", "0b", "0o")):
    return _bounded_fraction(Fraction(int(digits, 0)))
  if exponent and abs(int(exponent)) > MAX_BITS // 4:
    raise CalculationError(f"{digits[:40]!r} is too large or too small")
  return _bounded_fraction(Fraction(mantissa) * _ten(int(exponent or 0)))


def _ten(exponent: int) -> Fraction:
  return Fraction(10) ** exponent


def _bounded(value: Fraction | float | int) -> Fraction | float:
  if isinstance(value, float):
    if not math.isfinite(value):
      raise CalculationError("the result is too large")
    return value
  return _bounded_fraction(Fraction(value))


def _bounded_fraction(value: Fraction) -> Fraction:
  bits = max(value.numerator.bit_length(), value.denominator.bit_length())
  if bits > MAX_BITS:
    raise CalculationError(
      f"the result is too large: more than {MAX_BITS} bits"
    )
  return value


def _power(base: Fraction | float, exponent: Fraction | float):
  if isinstance(base, float) or isinstance(exponent, float):
    return _real(float(base) ** float(exponent))
  if exponent.denominator == 1:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits > 1 and (bits - 1) * abs(exponent) > MAX_BITS:
      raise CalculationError(
        f"the result is too large: more than {MAX_BITS} bits"
      )
    if base in (0, 1, -1):  # Whose powers need no working out.
      if base == 0 and exponent < 0:
        raise ZeroDivisionError
      return base ** int(min(abs(exponent), 2 + abs(exponent) % 2))
    return base ** int(exponent)
  root = _root(base) if exponent == Fraction(1, 2) else None
  return _real(float(base) ** float(exponent)) if root is None else root


def _real(value: float | complex) -> float:
  if isinstance(value, complex):
    raise CalculationError("the result is not a real number")
  return value


def _root(value: Fraction | float) -> Fraction | None:
  """The exact square root, where there is one."""
  if isinstance(value, float) or value < 0:
    return None
  above, below = math.isqrt(value.numerator), math.isqrt(value.denominator)
  root = Fraction(above, below)
  return root if root * root == value else None


def _sqrt(value: Fraction | float) -> Fraction | float:
  if value < 0:
    raise CalculationError("the result is not a real number")
  exact = _root(value)
  return math.sqrt(value) if exact is None else exact


def _round(value: Fraction | float, places: Fraction | float = Fraction(0)):
  """Half away from zero, as people round."""
  if places != int(places) or abs(places) > 100:
    raise CalculationError("round has 0 to 100 places")
  scale = Fraction(10) ** int(places)
  scaled = Fraction(value) * scale
  whole = math.floor(abs(scaled) + Fraction(1, 2))
  return (whole if scaled >= 0 else -whole) / scale


def _whole(value: Fraction | float) -> int:
  if value != int(value):
    raise CalculationError(f"{show(value)} is not a whole number")
  return int(value)


def _factorial(value: Fraction | float) -> int:
  number = _whole(value)
  if not 0 <= number <= 500:
    raise CalculationError(f"factorial of {number}: must be from 0 to 500")
  return math.factorial(number)


def _wholes(function: Callable[..., int]) -> Callable[..., int]:
  return lambda *values: function(*map(_whole, values))


_OPERATORS: dict[type[ast.operator], Callable] = {
  ast.Add: operator.add,
  ast.Sub: operator.sub,
  ast.Mult: operator.mul,
  ast.Div: operator.truediv,
  ast.FloorDiv: operator.floordiv,
  ast.Mod: operator.mod,
  ast.Pow: _power,
}
_FUNCTIONS: dict[str, Callable] = {
  "abs": abs,
  "min": lambda *values: functools.reduce(min, values),
  "max": lambda *values: functools.reduce(max, values),
  "round": _round,
  "floor": math.floor,
  "ceil": math.ceil,
  "sqrt": _sqrt,
  "gcd": _wholes(math.gcd),
  "lcm": _wholes(math.lcm),
  "factorial": _factorial,
}
_CONSTANTS = {"pi": math.pi, "e": math.e}
