"""A table of answers, and what no text may do to the verifier."""

import json
import pathlib
import time

import pytest

from rlx.rewards import math_answer, numerals

RIGHT = math_answer.Verdict.RIGHT
WRONG = math_answer.Verdict.WRONG
UNCLEAR = math_answer.Verdict.COULD_NOT_JUDGE
GSM8K = pathlib.Path(__file__).parents[2] / "../shared/data/gsm8k"

TABLE = [
  # Where the answer stands.
  (r"so \boxed{72}", "72", RIGHT),
  (r"\boxed{1} no, \boxed{72}", "72", RIGHT),
  (r"\boxed{72} and #### 71", "72", RIGHT),
  (r"\boxed{\boxed{72}}", "72", RIGHT),
  (r"#### 72" + "\n" + r"Then \boxed{", "72", RIGHT),
  ("Sum.\n#### 72", "72", RIGHT),
  ("####72 clips\nHope it helps! 5", "72", RIGHT),
  ("#### The total is 72 clips", "72", RIGHT),
  ("The answer is 72. There were 3 friends.", "72", RIGHT),
  ("The answer is: $72.", "72", RIGHT),
  ("**Final Answer:** 72", "72", RIGHT),
  ("the answer is 72, because 2*36=72", "72", RIGHT),
  ("The answer is clear. So 72", "72", RIGHT),
  ("She sold 48, then 24, so 72 in all", "72", RIGHT),
  ("He ran 72km", "72", RIGHT),
  ("so...72", "72", RIGHT),
  ("72", "72", RIGHT),
  ("72", "#### 72", RIGHT),
  ("72", "48+24.\n#### 72", RIGHT),
  ("I do not know", "72", WRONG),
  ("", "72", WRONG),
  ("72 then 71", "72", WRONG),
  (r"72 \boxed{71}", "72", WRONG),
  ("The answer is 71. Not 72", "72", WRONG),
  # Signs.
  ("-5", "-5", RIGHT),
  ("−5", "-5", RIGHT),
  ("+5", "5", RIGHT),
  ("-$5", "-5", RIGHT),
  ("$-5", "-5", RIGHT),
  ("48 - 24", "24", RIGHT),
  ("5", "-5", WRONG),
  # Commas, decimals, zeros.
  ("1,234", "1234", RIGHT),
  ("1,234,567.50", "1234567.5", RIGHT),
  (r"\boxed{1{,}234}", "1234", RIGHT),
  (r"\boxed{1\,234}", "1234", RIGHT),
  ("1234", "1,234", RIGHT),
  ("5.00", "5", RIGHT),
  ("005", "5", RIGHT),
  (".5", "0.5", RIGHT),
  (r"\boxed{5.}", "5", RIGHT),
  ("0.1", "1/10", RIGHT),
  ("3.33", "10/3", WRONG),
  (r"\boxed{3,4}", "34", UNCLEAR),
  (r"\boxed{12,34}", "1234", UNCLEAR),
  # Currency, percent, units.
  ("$18", "18", RIGHT),
  ("€18.50", "18.5", RIGHT),
  (r"\boxed{\$18}", "18", RIGHT),
  (r"\boxed{USD 18}", "18", RIGHT),
  (r"\boxed{18 dollars and}", "18", UNCLEAR),
  ("50%", "50", RIGHT),
  (r"\boxed{50\%}", "0.5", RIGHT),
  ("0.5", "50%", RIGHT),
  ("5%", "50%", WRONG),
  (r"\boxed{18\text{ apples}}", "18", RIGHT),
  (r"\boxed{18 \mathrm{~cm}^2}", "18", RIGHT),
  (r"\boxed{18 km/h}", "18", RIGHT),
  (r"\boxed{90^\circ}", "90", RIGHT),
  (r"\boxed{18m²}", "18", RIGHT),
  (r"\boxed{2 million}", "2,000,000", RIGHT),
  ("#### 18 eggs per day.", "18", RIGHT),
  # Fractions.
  (r"\boxed{\frac{3}{4}}", "0.75", RIGHT),
  (r"\boxed{\dfrac34}", "3/4", RIGHT),
  (r"\boxed{-\frac{3}{4}}", "-0.75", RIGHT),
  (r"\boxed{3\frac{1}{2}}", "3.5", RIGHT),
  (r"\boxed{-3\frac12}", "-3.5", RIGHT),
  (r"\boxed{\frac{\frac{1}{2}}{3}}", "1/6", RIGHT),
  ("The answer is 3 1/2 cups.", "7/2", RIGHT),
  ("she ate 4 pies, then 3½", "3.5", RIGHT),
  (r"\boxed{3½}", "3.5", RIGHT),
  ("6/8", "3/4", RIGHT),
  (r"\boxed{\frac{3}{0}}", "3", UNCLEAR),
  # Scientific notation.
  ("1.5e3", "1500", RIGHT),
  (r"\boxed{1.5 \times 10^{3}}", "1500", RIGHT),
  (r"\boxed{1.5×10³}", "1500", RIGHT),
  (r"\boxed{2E-2}", "0.02", RIGHT),
  # Expressions and equations.
  (r"\boxed{2*3+4}", "10", RIGHT),
  (r"\boxed{2+3*4}", "20", WRONG),
  (r"\boxed{(2+3)*4}", "20", RIGHT),
  (r"\boxed{2^{10}}", "1024", RIGHT),
  (r"\boxed{x = 72}", "72", RIGHT),
  (r"\boxed{48+24=72}", "72", RIGHT),
  (r"\boxed{0.1+0.2}", "0.3", RIGHT),
  # What is not a number.
  (r"\boxed{x+1}", "1", UNCLEAR),
  (r"\boxed{5x}", "5", UNCLEAR),
  (r"\boxed{\sqrt{16}}", "4", UNCLEAR),
  (r"\boxed{5\pi}", "5", UNCLEAR),
  (r"\boxed{5 or 6}", "5", UNCLEAR),
  ("The answer is 5 or 6.", "5", UNCLEAR),
  ("The answer is 5, 6.", "6", UNCLEAR),
  (r"\boxed{3:30}", "3", UNCLEAR),
  (r"\boxed{2 dozen}", "24", UNCLEAR),
  (r"\boxed{5k}", "5000", UNCLEAR),
  (r"\boxed{inf}", "5", UNCLEAR),
  (r"\boxed{nan}", "5", UNCLEAR),
  ("72", "many", UNCLEAR),
  ("72", "", UNCLEAR),
  (r"\boxed{(B)}", "(B)", RIGHT),
  (r"\boxed{(C)}", "(B)", UNCLEAR),
  # No code, and nothing large.
  (r"\boxed{9**9**9**9}", "9", UNCLEAR),
  (r"\boxed{9^{9^{9^9}}}", "9", UNCLEAR),
  (r"\boxed{(9^999)^999}", "9", UNCLEAR),
  (r"\boxed{1e999999999}", "9", UNCLEAR),
  (r"\boxed{2**0.5}", "9", UNCLEAR),
  (r"\boxed{0**-1}", "9", UNCLEAR),
  (r"\boxed{__import__('os').system('false')}", "9", UNCLEAR),
  (r"\boxed{(lambda: 9)()}", "9", UNCLEAR),
  (r"\boxed{9if 1else 2}", "9", UNCLEAR),
  (r"\boxed{1(2)}", "2", UNCLEAR),
  (r"\boxed{[9][0]}", "9", UNCLEAR),
  (r"\boxed{1_0}", "10", UNCLEAR),
]


@pytest.mark.parametrize(("completion", "gold", "verdict"), TABLE)
def test_verdict(completion, gold, verdict):
  assert math_answer.judge(completion, gold) is verdict


def test_the_question_repeated_can_be_refused():
  judge = math_answer.judge
  assert judge(r"\boxed{12+7}", "19", expressions=False) is UNCLEAR
  for text in ("19", "-3/4", r"\frac{3}{4}", "3 1/2", "1.5e3", "$1,200"):
    gold = str(getattr(numerals.parse(text), "value", None))
    assert judge(rf"\boxed{{{text}}}", gold, expressions=False) is RIGHT


MEGABYTE = 1_000_000
HOSTILE = {
  "digits": "9" * MEGABYTE,
  "digits and a letter": "9" * MEGABYTE + "x",
  "boxed digits": "\\boxed{" + "9" * 60_000 + "}",
  "braces": "\\boxed{" * 9_000,
  "closed braces": "\\boxed{" + "{" * 9_000 + "5" + "}" * 9_001,
  "boxes": "\\boxed{5}" * 7_000 + "{",
  "parentheses": "\\boxed{" + "(" * 199 + "5" + ")" * 199 + "}",
  "minuses": "\\boxed{" + "-" * 199 + "5}",
  "fractions": "\\boxed{" + "\\frac{1}{" * 40 + "1" + "}" * 41,
  "spaces": "answer is" + " " * MEGABYTE + "5",
  "spaced digits": "5 " * (MEGABYTE // 2),
  "digits, spaces": ("5" * 999 + " " * 999) * 500,
  "slashes": "5 / " * (MEGABYTE // 4),
  "commas": "," * MEGABYTE,
  "digits and commas": "1," * (MEGABYTE // 2),
  "points": "." * MEGABYTE,
  "points and digits": ".5" * (MEGABYTE // 2),
  "answers": "answer is " * (MEGABYTE // 10),
  "answer stars": "answer" + "*" * MEGABYTE,
  "hashes": "#" * MEGABYTE,
  "backslashes": "\\" * MEGABYTE,
  "dollars": "-$" * (MEGABYTE // 2),
  "exponents": "1e1" * (MEGABYTE // 3),
  "letters a": "a" * MEGABYTE + "!",
  "nul": "\x00" * MEGABYTE,
  "combining": "\u0301" * MEGABYTE,
  "arabic digits": "\u0665" * MEGABYTE,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_is_slow_or_raises(text):
  start = time.process_time()
  math_answer.judge(text, "5")
  math_answer.judge("\\boxed{5}", text)
  assert time.process_time() - start < 0.5


@pytest.mark.parametrize("size", [10_000, 20_000, 40_000])
def test_expressions_are_bounded(size):
  for text in ("1+" * size + "1", "(" * size, "1" * size, "9**" * size + "9"):
    assert numerals.evaluate(text) is None
    assert numerals.parse(text) is None


def test_the_reward_is_one_zero_or_an_abstention():
  logged = {}
  rewards = math_answer.correct(
    [
      r"\boxed{5}",
      [{"role": "assistant", "content": r"\boxed{5}"}],
      r"\boxed{6}",
      r"\boxed{\sqrt{25}}",
      r"\boxed{5}",
    ],
    answer=["5", "5", "5", "5", "five"],
    log_metric=logged.__setitem__,
    question=["", "", "", "", ""],
  )
  assert rewards == [1.0, 1.0, 0.0, 0.0, None]
  assert logged == {"could_not_judge": 0.4}


@pytest.mark.skipif(not GSM8K.is_dir(), reason="the data set is not here")
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_gold_answer_of_gsm8k_is_right_and_its_neighbour_wrong(split):
  lines = (GSM8K / f"{split}.jsonl").read_text().splitlines()
  solutions = [json.loads(line)["answer"] for line in lines]
  golds = [s.rpartition("####")[2].strip() for s in solutions]
  neighbours = golds[1:] + golds[:1]
  for solution, gold, other in zip(solutions, golds, neighbours, strict=True):
    assert math_answer.judge(solution, gold) is RIGHT
    same = gold.replace(",", "") == other.replace(",", "")
    assert math_answer.judge(solution, other) is (RIGHT if same else WRONG)
