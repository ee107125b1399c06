"""Calls as policies write them, and as they write them wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlx.tools import hermes, tool

CALL = '{"name": "add", "arguments": {"a": 1}}'


@pytest.mark.parametrize(
  "text, said, calls",
  [
    ("The answer is 4.", "The answer is 4.", []),
    ("", "", []),
    (f"<tool_call>{CALL}</tool_call>", "", [("add", {"a": 1})]),
    (
      f"I add.\n<tool_call>\n{CALL}\n</tool_call>\n",
      "I add.",
      [("add", {"a": 1})],
    ),
    (f"<tool_call>{CALL}</tool_call>" * 2, "", [("add", {"a": 1})] * 2),
    (f"<tool_call>{CALL}", "", [("add", {"a": 1})]),
    (f"<tool_call>```json\n{CALL}\n```</tool_call>", "", [("add", {"a": 1})]),
    (
      '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call>',
      "",
      [("add", {"a": 1})],
    ),
    (
      '<tool_call>{"name": "add", "parameters": {"a": 1}}</tool_call>',
      "",
      [("add", {"a": 1})],
    ),
    ('<tool_call>{"name": "now"}</tool_call>', "", [("now", {})]),
    (
      '<tool_call>{"name": "say", "arguments": {"x": "</tool_call>"}}'
      "</tool_call>",
      "",
      [("say", {"x": "</tool_call>"})],
    ),
  ],
)
def test_calls_are_read(text, said, calls):
  assert hermes.read(text) == (said, tuple(calls), None)


@pytest.mark.parametrize(
  "body, message",
  [
    ("", "one JSON object"),
    ("{", "one JSON object"),
    ("{'name': 'add'}", "one JSON object"),
    ("add(1)", "one JSON object"),
    ("[]", "a string 'name'"),
    ('{"name": 3}', "a string 'name'"),
    ('{"arguments": {}}', "a string 'name'"),
    ('{"name": "add", "arguments": "{"}', "arguments must be a JSON object"),
    (CALL + " and more", "must end with </tool_call>"),
    ("[" * 100_000, "one JSON object"),
    (r'{"name": "add", "arguments": {"a": "\ud800"}}', "one JSON object"),
    (r'{"name": "\ud800"}', "one JSON object"),
    (r'{"name": "add", "arguments": "[\"\\ud800\"]"}', "must be a JSON obj"),
    ('{"name": "x", "arguments": {"a": ' + "9" * 5000 + "}}", "one JSON"),
  ],
)
def test_what_cannot_be_read_is_an_error_and_calls_nothing(body, message):
  said = hermes.read(f"Hm. <tool_call>{CALL}</tool_call><tool_call>{body}"
                     "</tool_call>")  # fmt: skip
  assert said.calls == ()
  assert said.error is not None
  assert message in said.error
  assert len(said.error) < 300


def test_a_close_without_an_opening_and_too_many_calls_are_errors():
  assert "without <tool_call>" in str(hermes.read("4 </tool_call>").error)
  many = hermes.read(f"<tool_call>{CALL}</tool_call>" * 40)
  assert "more than 32 calls" in str(many.error)


@given(
  st.text(max_size=40).filter(lambda x: "tool_call" not in x),
  st.dictionaries(
    st.text(max_size=5), st.integers() | st.text(max_size=9) | st.none()
  ),
)
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read_again(text, arguments):
  call = hermes.Call("f", arguments)
  said = hermes.read(text + hermes.write([call, call]))
  assert said == (text.strip(), (call, call), None)


@given(st.lists(st.sampled_from(
  ["<tool_call>", "</tool_call>", "{", "}", '"name"', ":", '"f"', " ", "```"]
), max_size=12))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_nothing_that_is_read_raises(parts):
  said = hermes.read("".join(parts))
  assert not (said.error and said.calls)


def add(a: int, b: int = 1) -> int:
  """Adds.

  Args:
    a: One.
  """
  if a == 13:
    raise tool.ToolError("13 brings bad luck")
  if a == 14:
    raise RuntimeError("broken")
  return a + b


@pytest.mark.parametrize(
  "name, arguments, text",
  [
    ("add", {"a": 1}, "2"),
    ("add", {"a": 1, "b": 2}, "3"),
    ("sub", {}, "error: there is no tool 'sub'; the tools are add"),
    ("add", {"a": "1"}, "error: add: argument 'a' must be of type integer"),
    ("add", 3, "error: add: the arguments must be a JSON object"),
    ("add", {"a": 13}, "error: 13 brings bad luck"),
    ("add", {"a": 14}, "error: RuntimeError: broken"),
  ],
)
def test_calls_are_answered_whatever_they_are(name, arguments, text):
  result = tool.call(tool.named([tool.make(add)]), name, arguments)
  assert result.text.startswith(text)
  assert result.error == text.startswith("error")


def test_tools_are_described_as_hermes_does_and_two_of_one_name_refused():
  text = hermes.describe([tool.make(add)])
  assert '<tools>\n{"type": "function", "function": {"name": "add"' in text
  assert "<tool_call>" in text
  with pytest.raises(ValueError, match="two tools are named 'add'"):
    tool.named([tool.make(add)] * 2)
  shown = hermes.respond([tool.Result("1"), tool.Result("2")])
  assert shown.count("<tool_response>\n") == 2
