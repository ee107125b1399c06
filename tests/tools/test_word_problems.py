"""An agent with a calculator, from its data to a trained and evaluated model."""

import json

import pytest

from rlx import cli, config, tokenizer
from rlx.tools import hermes, word_problems


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch):
  # The tests' own stays in force.
  monkeypatch.setenv("RLX_COMPILATION_CACHE", "off")


def test_problems_are_pure_right_and_in_words():
  source = word_problems.problems(skill=1.0)["train"]
  words = tokenizer.WordTokenizer(word_problems.WORDS)
  for index in range(100):
    row = source[index]
    assert row == source[index]
    call, answer = row["actions"]
    for text in (row["prompt"], call, answer):
      assert words.decode(words.encode(text)) == text
    said = hermes.read(call)
    assert said.error is None
    (made,) = said.calls
    found = word_problems.calculate(**made.arguments)
    assert found == "".join(answer.split()) == "".join(row["answer"].split())
  with pytest.raises(IndexError):
    source[len(source)]
  with pytest.raises(ValueError, match="skill=2"):
    word_problems.problems(skill=2.0)


def test_held_out_problems_are_never_trained_on():
  splits = word_problems.problems(digits=1, changes=1, size=2000)
  seen = [
    {splits[name][i]["prompt"] for i in range(len(splits[name]))}
    for name in ("train", "test")
  ]
  assert not seen[0] & seen[1]
  assert len(seen[1]) > 50


def test_demonstrations_are_imperfect_and_made_of_the_vocabulary():
  task = config.load("calculator").task
  words = tokenizer.WordTokenizer(task.words())
  assert words.vocab_size == config.load("calculator").model.vocab_size
  right = 0
  for index in range(100):
    pairs = task.demonstration(index, 0)
    assert len(pairs) == 2
    for shown, action in pairs:
      words.encode(shown)
      words.encode(action)
    right += pairs[-1][1] == task.row(index, "train")["answer"]
  assert 55 <= right <= 90


def test_what_cannot_be_said_in_the_vocabulary_is_an_error():
  task = config.load("calculator").task
  episode = task.episode(0, "test")
  episode.reset(0)
  wrong = f"{word_problems.CALL} tom {word_problems.DONE}"
  assert episode.step(wrong)[0] == "error"
  shown, *_, info = episode.step(word_problems.CALL)
  assert shown == "error"
  assert info["parse_error"]


SETTINGS = """
import dataclasses
from rlx import config, experiment
from tests import tiny

def get_config():
  made = config.load("calculator")
  return dataclasses.replace(
    made,
    name="tools",
    model=dataclasses.replace(tiny.DECODER, vocab_size=31, num_layers=1),
    task=dataclasses.replace(made.task, turns=2),
    steps=2,
    rollout=dataclasses.replace(made.rollout, num_prompts=4, group_size=2),
    warm_start=None,
    eval=experiment.EvalConfig(num=4, samples=2, greedy=False),
  )
"""


def test_an_agent_with_a_tool_is_trained_and_evaluated(tmp_path, capsys):
  (tmp_path / "mine.py").write_text(SETTINGS)
  run = str(tmp_path / "run")
  command = ["train", str(tmp_path / "mine.py"), "--workdir", run, "--quiet"]
  assert cli.run(command) == 0
  summary = json.loads((tmp_path / "run" / "summary.json").read_text())
  assert summary["eval/n"] == 8
  lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  last = json.loads(lines[-1])
  assert any(name.startswith("stop/") for name in last)
  capsys.readouterr()
  assert cli.run(["eval", run, "--json", "--samples", "2"]) == 0
  found = json.loads(capsys.readouterr().out)
  assert found["sampled"]["n"] == 8
  assert found["sampled"]["success"] == summary["eval/success"]
