"""Episodes with tools: what ends them, what is paid, what is shown."""

import pytest

from rlx import config, spec
from rlx.data import splits
from rlx.envs import protocol
from rlx.rewards import math_answer
from rlx.tools import calculator, hermes, python, task, tool


def rows(*, chat: bool = False):
  """Two questions for each split.

  Args:
    chat: as messages.
  """
  make = lambda text, answer: {
    "prompt": [{"role": "user", "content": text}] if chat else text,
    "answer": answer,
  }
  found = [make("What is 2 * 21?", "42"), make("What is 1 / 4?", "0.25")]
  return {"train": found, "test": found[:1]}


def right(completions, answer):
  return [
    float(math_answer.text_of(c).strip().split("\n")[-1] == a)
    for c, a in zip(completions, answer, strict=True)
  ]


def make(**fields):
  fields = {"rewards": (right,), "tools": (calculator.calculate,)} | fields
  return task.ToolTask(data=spec.spec(rows), **fields)


def call(**arguments):
  return hermes.write([hermes.Call("calculate", arguments)])


def start(made, split="test", index=0):
  episode = made.episode(index, split)
  shown, info = episode.reset(seed=0)
  return episode, shown, info


def test_it_is_a_task_that_can_be_continued_and_kept_as_json():
  made = make()
  assert isinstance(made, protocol.Task)
  assert isinstance(made.episode(0, "train"), protocol.Restorable)
  assert made.max_turns == 8
  assert made.num_test() == 1


def test_a_question_is_answered_with_a_tool():
  episode, shown, info = start(make())
  assert shown.endswith("\n\nWhat is 2 * 21?")
  assert '"name": "calculate"' in shown
  assert info["state_key"] == ()
  shown, reward, terminated, truncated, info = episode.step(
    f"I multiply. {call(expression='2 * 21')}"
  )
  assert shown == "<tool_response>\n42\n</tool_response>"
  assert (reward, terminated, truncated) == (0, False, False)
  assert not info["parse_error"]
  assert len(info["state_key"]) == 1
  _, reward, terminated, truncated, info = episode.step("42")
  assert (reward, terminated, truncated) == (1, True, False)
  assert info["stop"] == "completed"
  assert info["success"]


def test_a_wrong_answer_pays_nothing():
  episode, *_ = start(make())
  _, reward, terminated, _, info = episode.step("41")
  assert (reward, terminated, info["success"]) == (0, True, False)


@pytest.mark.parametrize(
  "action, unread, text",
  [
    ("<tool_call>{oops</tool_call>", True, "error: a tool call must be"),
    (call(expression=3), False, "error: calculate: argument 'expression'"),
    (call(expression="1 / 0"), False, "error: division by zero"),
    (hermes.write([hermes.Call("rm", {})]), False, "error: there is no tool"),
  ],
)
def test_what_goes_wrong_is_told_and_the_episode_goes_on(action, unread, text):
  episode, *_ = start(make())
  shown, reward, terminated, truncated, info = episode.step(action)
  assert text in shown
  assert info["parse_error"] == unread
  assert (reward, terminated, truncated) == (0, False, False)
  assert episode.step("42")[1] == 1


@pytest.mark.parametrize(
  "fields, action, stop",
  [
    ({"turns": 2}, call(expression="1"), "max_turns"),
    ({"turns": 2}, "<tool_call>", "max_turns"),
    ({"max_tool_calls": 1}, call(expression="1"), "max_tool_calls"),
  ],
)
def test_episodes_that_do_not_answer_are_truncated_and_still_scored(
  fields, action, stop
):
  seen = []

  def watch(completions, truncated, num_tool_calls, transcript):
    seen.append((completions[0], truncated[0], num_tool_calls[0]))
    assert transcript[0][0]["role"] == "assistant"
    return [0.25]

  episode, *_ = start(make(rewards=(watch,), **fields))
  assert not any(episode.step(action)[2:4])
  _, reward, terminated, truncated, info = episode.step(action)
  assert (reward, terminated, truncated) == (0.25, False, True)
  assert info["stop"] == stop
  # No answer is read out of a call.
  assert seen[0][:2] == ("", True)
  assert not info["success"]


def test_turns_that_cannot_be_read_end_an_episode_where_asked():
  episode, *_ = start(make(max_parse_errors=2))
  assert not any(episode.step("<tool_call>")[2:4])
  assert not any(episode.step(call(expression="1"))[2:4])
  _, reward, terminated, truncated, info = episode.step("<tool_call>")
  assert (reward, terminated, truncated) == (0, True, False)
  assert (info["stop"], info["parse_error"]) == ("parse_error", True)


def test_several_calls_of_one_turn_are_answered_in_order():
  episode, *_ = start(make())
  calls = [hermes.Call("calculate", {"expression": x}) for x in ("1", "2")]
  shown, *_ = episode.step(hermes.write(calls))
  assert shown.split() == [
    *("<tool_response>", "1", "</tool_response>"),
    *("<tool_response>", "2", "</tool_response>"),
  ]


def test_long_answers_of_tools_are_cut():
  def much(n: int) -> str:
    """Says much.

    Args:
      n: How much.
    """
    return "x" * n

  episode, *_ = start(make(tools=(much,), max_response=10))
  shown, *_ = episode.step(hermes.write([hermes.Call("much", {"n": 100})]))
  assert f"{'x' * 10}\n[90 more characters]" in shown


def test_chat_prompts_have_their_turns_as_completion():
  seen = []

  def watch(prompts, completions):
    seen.append((prompts, completions))
    return [1.0]

  made = task.ToolTask(
    data=spec.spec(rows, chat=True),
    tools=(calculator.calculate,),
    rewards=(watch,),
    describe=False,
  )
  episode, shown, _ = start(made)
  assert shown == "What is 2 * 21?"
  episode.step(f"Hm. {call(expression='2 * 21')}")
  episode.step("42")
  ((prompts, completions),) = seen
  assert prompts == [[{"role": "user", "content": "What is 2 * 21?"}]]
  first, second, third = completions[0]
  assert first["content"] == "Hm."
  assert first["tool_calls"][0]["function"] == {
    "name": "calculate",
    "arguments": {"expression": "2 * 21"},
  }
  assert second == {"role": "tool", "name": "calculate", "content": "42"}
  assert third == {"role": "assistant", "content": "42"}


def test_turns_are_paid_where_asked_and_abstaining_pays_nothing():
  def polite(completions, num_tool_calls):
    (text,) = completions
    return [None if "..." in text else float("please" in text)]

  episode, *_ = start(make(turn_rewards=(polite,)))
  action = call(expression="1")
  assert episode.step(f"please {action}")[1] == 1
  assert episode.step(f"... {action}")[1] == 0
  assert episode.step(action)[1] == 0
  assert episode.step("42")[1] == 1


class Counter:
  """An environment as TRL has them."""

  def __init__(self):
    self.count = 0

  def reset(self, answer: str, **row):
    self.count = 0
    return f" (as {answer})"

  def increment(self, by: int) -> int:
    """Counts on.

    Args:
      by: How far.
    """
    self.count += by
    return self.count

  def get_reward(self) -> float:
    return self.count / 10

  def _hidden(self):
    return None


def up(**arguments):
  return hermes.write([hermes.Call("increment", arguments)])


def counted(environments):
  return [float(e.count) for e in environments]


def test_environments_in_trls_style_plug_in():
  made = make(tools=(), rewards=(counted,), environment=Counter)
  episode, shown, _ = start(made)
  assert "increment" in shown
  assert "get_reward" not in shown
  assert shown.endswith("What is 2 * 21? (as 42)")
  assert "\n3\n" in episode.step(up(by=3))[0]
  place = episode.snapshot()
  assert "\n5\n" in episode.step(up(by=2))[0]
  # The function's reward and the environment's own.
  assert episode.step("done")[1] == pytest.approx(5.5)
  other = made.episode(0, "test")
  other.restore(place, seed=1)
  assert "\n4\n" in other.step(up(by=1))[0]
  episode.restore(place, seed=2)
  assert "\n3\n" in episode.step(up(by=0))[0]


def test_a_tool_can_end_the_episode():
  def give_up() -> tool.Result:
    """Gives up."""
    return tool.Result("bye", ends=True)

  episode, *_ = start(make(tools=(give_up,)))
  _, reward, terminated, _, info = episode.step(
    hermes.write([hermes.Call("give_up", {})])
  )
  assert (reward, terminated, info["stop"]) == (0, True, "tool_stopped")


def test_an_episode_goes_on_from_a_snapshot():
  made = make()
  episode, *_ = start(made)
  episode.step(call(expression="2 * 21"))
  place = episode.snapshot()
  want = [episode.step(call(expression="1")), episode.step("42")]
  other = made.episode(0, "test")
  other.restore(place, seed=9)
  assert [other.step(call(expression="1")), other.step("42")] == want


def test_training_rows_come_in_an_order_of_each_epoch():
  made = make()
  for epoch in range(3):
    seen = {made.row(2 * epoch + i, "train")["answer"] for i in range(2)}
    assert seen == {"42", "0.25"}
  assert made.row(5, "train") == made.row(5, "train")


def needs_ids(completion_ids):
  return [0.0]


def needs_more(completions, level):
  return [0.0]


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"turns": 0}, "task.turns=0: must be 1 or more"),
    ({"max_parse_errors": -1}, "max_parse_errors=-1"),
    ({"rewards": ()}, "nothing would be paid"),
    ({"tools": ()}, "there must be a tool"),
    ({"reward_weights": (1.0, 2.0)}, "1 functions and .*one weight each"),
    ({"rewards": (needs_ids,)}, "'needs_ids' needs completion_ids"),
    ({"rewards": (needs_more,)}, "'needs_more' needs the columns .'level'"),
  ],
)
def test_tasks_that_cannot_be_played_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    make(**fields).num_test()


def test_other_conversations_are_refused():
  talk = [{"role": "user", "content": "x"}] * 2
  with pytest.raises(ValueError, match="roles .'user', 'user'"):
    task.text_of(talk, 3)
  both = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
  assert task.text_of(both, 0) == "s\n\nu"


def test_the_python_tool_runs_code_and_refuses_where_it_cannot():
  try:
    made = python.python(timeout=5.0)
  except RuntimeError as error:
    pytest.skip(str(error))
  known = tool.named([made])
  assert tool.call(known, "python", {"code": "6 * 7"}).text == "42"
  failed = tool.call(known, "python", {"code": "1 / 0"})
  assert failed.error
  assert "ZeroDivisionError" in failed.text


def test_a_task_with_settings_of_tools_is_kept_in_a_file():
  made = task.ToolTask(
    data=spec.spec(splits.arithmetic),
    tools=(calculator.calculate, spec.spec(python.python, timeout=2.0)),
    rewards=(math_answer.correct,),
  )
  assert config.from_json(config.to_json(made)) == made
