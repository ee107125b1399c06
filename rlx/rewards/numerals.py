"""Numbers as people and models write them, read as exact fractions.

Every pattern here takes time linear in the text, and the text is bounded.
"""

import ast
import operator
import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

MAX_TEXT = 400  # Characters of an answer; longer ones are not read.
MAX_EXPRESSION = 200  # Characters of a number or an expression.
MAX_EXPONENT = 1000
MAX_BITS = 4096  # Of a power.


class Number(NamedTuple):
  """A value, and whether a percent sign stood after it (50% is 50 here)."""

  value: Fraction
  percent: bool


def parse(text: str, expressions: bool = True) -> Number | None:
  """The number that `text` as a whole states, or None if it cannot be told.

  Read are signs, thousands commas, decimals, fractions (`a/b`, `\\frac{a}{b}`,
  mixed, vulgar), scientific notation, currency, percent, units, the words
  hundred to trillion, the right side of an equation, and LaTeX around these.

  Args:
    text: an answer without prose before it.
    expressions: also work out `+ - * / ( ) **` of numbers.
  """
  if len(text) > MAX_TEXT:
    return None
  text = re.split("[=≈]", _plain(text))[-1].strip(" \t*_`'\"")
  text = re.sub(r"^(?:USD|EUR|GBP|INR|Rs\.?|about|around|exactly)\s+", "", text)
  text = re.sub("[$€£¥₹]", "", text).rstrip(" .,;:!?")
  head, tail = _split_unit(text)
  factor = _factor(tail)
  value = None if factor is None else _value(head, expressions)
  if value is None or factor is None:
    return None
  return Number(value * factor, tail.lower().startswith(("%", "percent")))


_LATEX = (
  (r"\\(?:left|right|displaystyle)(?![A-Za-z])|\^\s*\{?\\circ\}?|°|\\\$", ""),
  (r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}", r" \1 "),
  (r"\\(?:times|cdot)(?![A-Za-z])|[×·⋅]", "*"),
  (r"\\div(?![A-Za-z])|[÷⁄]", "/"),
  (r"[−–]", "-"),
  (r"\\%", "%"),
  (r"\{,\}", ","),
  # A thin space between digits groups thousands; elsewhere it is a space.
  (r"(?<=\d)(?:\\[,! ]|[\u2009\u202f\u00a0])(?=\d{3})", ","),
  (r"\\[,;:! ]|~", " "),
  (r"\\[dt]frac(?![A-Za-z])", r"\\frac"),
  (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
  (r"(?<=\d)\s*\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}", r" \1/\2"),
)
_FRACTION = re.compile(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def _plain(text: str) -> str:
  """Without LaTeX and Unicode forms."""
  text = "".join(map(_vulgar, text))
  text = re.sub(
    "[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+",
    lambda m: f"^({m[0].translate(_SUPERSCRIPTS)})",
    text,
  )
  for pattern, replacement in _LATEX:
    text = re.sub(pattern, replacement, text)
  for _ in range(8):  # Innermost first.
    text, num_found = _FRACTION.subn(r"((\1)/(\2))", text)
    if not num_found:
      break
  text = unicodedata.normalize("NFKC", text)
  return text.replace("{", "(").replace("}", ")")


def _vulgar(character: str) -> str:
  """`½` as ` 1/2`: with a space, as 3½ is a mixed number."""
  if unicodedata.decomposition(character).startswith("<fraction>"):
    return " " + unicodedata.normalize("NFKC", character).replace("⁄", "/")
  return character


_SCALES = {
  "hundred": 10**2,
  "thousand": 10**3,
  "million": 10**6,
  "billion": 10**9,
  "trillion": 10**12,
}
_UNIT_LETTERS = set("mglhscCFLNVW")
# More than one number may be meant, or not the one that is written.
_UNCLEAR = {"or", "and", "to", "not", "dozen", "dozens"}
_UNIT = re.compile(r"[A-Za-z%(][A-Za-z%()/.,'’ -]*")


def _split_unit(text: str) -> tuple[str, str]:
  """The text up to its first letter or percent sign, and the rest."""
  text = re.sub(
    r"(?<=[\d.])[eE]([+-]?\d{1,3})(?![\w.])", r"*10^(\1)", text.strip()
  )
  start = re.search(r"[A-Za-z%\\_]", text)
  if start is None:
    return text, ""
  return text[: start.start()].rstrip(), text[start.start() :]


def _factor(unit: str) -> Fraction | None:
  """What a unit multiplies by: 1, or a scale; None for what is no unit."""
  if not unit:
    return Fraction(1)
  unit = re.sub(r"\^?\(?[23]\)?(?!\w)", "", unit)  # Square and cubic units.
  words = unit.replace("%", " percent ").split()
  if not _UNIT.fullmatch(unit) or _UNCLEAR & {w.lower() for w in words}:
    return None
  first = words[0]
  if len(first) == 1 and first not in _UNIT_LETTERS:
    return None  # A variable, rather.
  return Fraction(_SCALES.get(first.lower(), 1))


def _value(text: str, expressions: bool) -> Fraction | None:
  text = " ".join(text.split())
  if len(text) > MAX_EXPRESSION:
    return None
  text = re.sub(
    r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])",
    lambda m: m[0].replace(",", ""),
    text,
  )
  mixed = re.fullmatch(r"([+-]?)\s*(\d+)[ -](\d+)\s*/\s*(\d+)", text)
  if mixed:
    sign, whole, above, below = mixed.groups()
    text = f"{sign}({whole}+{above}/{below})"
  elif not expressions and not _LITERAL.fullmatch(text):
    return None
  return evaluate(text)


_LITERAL = re.compile(
  r"[+-]? ?[(]{0,3}[\d.]+(?:\*10\^[(][+-]?\d+[)])?[)]{0,2}"
  r"(?: ?/ ?[(]?[\d.]+[)]{0,2})?"
)


def evaluate(text: str) -> Fraction | None:
  """The value of an arithmetic expression, exactly, or None.

  Only numbers and `+ - * / ( ) **` (or `^`) are known, and a power is worked
  out only if its exponent is whole, at most 1000 in size, and the result small.
  The expression becomes a syntax tree; it is never executed.
  """
  text = " ".join(text.split()).replace("^", "**")
  if len(text) > MAX_EXPRESSION + 20 or not re.fullmatch(
    r"[\d .+\-*/()]+", text
  ):
    return None
  text = re.sub(r"(?<![\d.])0+(?=\d)", "", text)  # Python refuses 007.
  try:
    return _node(ast.parse(text, mode="eval").body, text)
  except (SyntaxError, MemoryError, RecursionError):
    return None  # Malformed, or parentheses too deep.
  except (ArithmeticError, ValueError):
    return None  # A division by zero, or beyond the bounds.


_OPERATORS = {
  ast.Add: operator.add,
  ast.Sub: operator.sub,
  ast.Mult: operator.mul,
  ast.Div: operator.truediv,
}


def _node(node: ast.expr, text: str) -> Fraction:
  match node:
    case ast.Constant():
      # From the text, as the constant has been rounded to a float.
      return Fraction(ast.get_source_segment(text, node) or "")
    case ast.UnaryOp(op=ast.USub()):
      return -_node(node.operand, text)
    case ast.UnaryOp(op=ast.UAdd()):
      return _node(node.operand, text)
    case ast.BinOp(op=ast.Pow()):
      return _power(_node(node.left, text), _node(node.right, text))
    case ast.BinOp() if type(node.op) in _OPERATORS:
      left, right = _node(node.left, text), _node(node.right, text)
      return _OPERATORS[type(node.op)](left, right)
  raise ValueError(f"{type(node).__name__} is not arithmetic")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
  bits = max(base.numerator.bit_length(), base.denominator.bit_length())
  size = abs(exponent)
  if exponent.denominator != 1 or size > MAX_EXPONENT or bits * size > MAX_BITS:
    raise ValueError(f"a power beyond {MAX_BITS} bits")
  return Fraction(base ** int(exponent))
