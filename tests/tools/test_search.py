"""The search tool ranks as it should, and multi-hop questions can be answered."""

import json
import math

import numpy as np
import pytest

from rlx import recipes, rollouts
from rlx.envs import protocol
from rlx.tools import hermes, multi_hop, search, tool

DOCUMENTS = [
  search.Document("Cats", "the cat sat on the mat"),
  search.Document("Dogs", "the dog sat on the log"),
  search.Document("Both", "a cat and a dog and a cat"),
]


def test_scores_are_lucenes_worked_out_by_hand():
  scores = search.bm25(DOCUMENTS)(["cat", "zebra"])
  rarity = math.log(1 + (3 - 2 + 0.5) / 2.5)
  # Title and text have 7, 7 and 9 words.
  weight = lambda tf, n: tf / (tf + 1.5 * (0.25 + 0.75 * n / (23 / 3)))
  want = [rarity * weight(1, 7), 0, rarity * weight(2, 9)]
  np.testing.assert_allclose(scores, want)


def test_bm25s_gives_the_same_where_it_is_installed():
  pytest.importorskip("bm25s")
  for query in (["cat"], ["dog", "log"], ["the", "the"], ["zebra"]):
    want = search.bm25(DOCUMENTS)(query)
    got = search.bm25(DOCUMENTS, "bm25s")(query)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_an_engine_that_is_not_installed_is_named(monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(ValueError, match=r"pip install \"rlx\[search\]\""):
    search.bm25(DOCUMENTS, "bm25s")


@pytest.mark.parametrize(
  "query, found",
  [
    ("cat", (2, 0)),
    ("Log!", (1,)),
    ("sat", (0, 1)),
    ("zebra", ()),
    ("", ()),
    ("?!", ()),
    ("cat dog mat log", (0, 1)),
  ],
)
def test_the_best_come_first_and_of_equal_ones_the_first(query, found):
  assert search.best(search.bm25(DOCUMENTS), query, 2) == found


def test_the_tool_reads_a_file_and_shows_documents(tmp_path):
  path = tmp_path / "corpus.jsonl"
  rows = [{"title": "A", "text": "one two"}, {"contents": "three two"}]
  path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
  made = search.search(path=str(path), num=1)
  known = tool.named([made])
  result = tool.call(known, "search", {"query": "one"})
  assert (result.text, result.data) == ("A: one two", (0,))
  nothing = tool.call(known, "search", {"query": "zebra"})
  assert (nothing.text, nothing.data) == ("nothing found", ())


@pytest.mark.parametrize(
  "text, message",
  [
    (None, "there is no such file"),
    ("", "the corpus is empty"),
    ('{"title": "x"}', "line 1: no 'text'"),
    ("[]", "line 1: no 'text'"),
  ],
)
def test_a_corpus_that_cannot_be_read_is_refused(tmp_path, text, message):
  path = tmp_path / "corpus.jsonl"
  if text is not None:
    path.write_text(text)
  with pytest.raises(ValueError, match=message):
    search.search(path=str(path))


# Multi-hop questions.

TASK = multi_hop.MultiHop(people=16, held_out=8)


def asks(query):
  return hermes.write([hermes.Call("search", {"query": query})])


def play(actions, task=TASK, index=0):
  episode = task.episode(index, "train")
  episode.reset(seed=0)
  return [episode.step(action) for action in actions]


def test_it_is_a_task_with_evidence_for_stepsearch():
  assert isinstance(TASK, protocol.Task)
  assert isinstance(TASK, protocol.Demonstrated)
  assert isinstance(TASK.episode(0, "train"), protocol.Restorable)
  needed = rollouts.columns(TASK, recipes.stepsearch())
  assert set(needed) == {"information_gain", "redundancy"}


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_every_question_is_answered_by_following_its_hops(hops):
  task = multi_hop.MultiHop(people=24, hops=hops, turns=hops + 1, held_out=8)
  for index in range(20):
    row = task.row(index, "train")
    queries = [asks(phrases[1]) for phrases in row["queries"]]
    turns = play([*queries, row["answer"]], task, index)
    for (shown, *_), document in zip(turns[:-1], row["gold"], strict=True):
      assert document in shown
    _, reward, terminated, truncated, info = turns[-1]
    assert (terminated, truncated, info["success"]) == (True, False, True)
    # Hops that ask the same are looked for by one query only.
    distinct = len({phrases[1] for phrases in row["queries"]})
    want = 1 + 0.618 * distinct / hops
    assert reward == pytest.approx(want, abs=1e-3)
    gains = [info["evidence"]["information_gain"] for *_, info in turns]
    assert sum(gains) == pytest.approx(1, abs=0.01)
    assert gains[-1] == 0


def test_questions_and_documents_are_english_and_do_not_change():
  row = TASK.row(0, "train")
  assert row == multi_hop.MultiHop(people=16, held_out=8).row(0, "train")
  assert row["prompt"].startswith("Who is the ")
  assert row["prompt"].endswith("?")
  found = TASK.corpus()
  assert len(found) == 64
  assert {d.text for d in found} >= set(row["gold"])
  other = multi_hop.MultiHop(people=16, held_out=8, seed=1)
  assert other.corpus() != found


def test_a_search_again_gains_nothing_and_is_redundant():
  query = asks(TASK.row(0, "train")["queries"][0][0])
  once, again = play([query, query])
  assert once[4]["evidence"]["information_gain"] > 0.3
  assert once[4]["evidence"]["redundancy"] == 0
  assert again[4]["evidence"] == {"information_gain": 0, "redundancy": 1}


def test_episodes_without_an_answer_pay_minus_one():
  *_, (_, reward, _, truncated, info) = play([asks("x")] * 6)
  assert (reward, truncated, info["stop"]) == (-1, True, "max_turns")
  assert not info["success"]
  _, reward, terminated, *_ = play([" "])[0]
  assert (reward, terminated) == (-1, True)


def test_a_right_answer_found_blindly_has_only_its_own_term():
  answer = TASK.row(0, "train")["answer"]
  ((_, reward, _, _, info),) = play([answer.lower()])
  assert (reward, info["success"]) == (1, True)


def test_demonstrations_are_played_and_held_out_questions_kept_apart():
  right = 0
  for index in range(20):
    pairs = TASK.demonstration(index, 0)
    assert len(pairs) == 3
    assert TASK.row(index, "train")["prompt"] in pairs[0][0]
    right += pairs[1][0].count("The ") > 0
  assert right == 20
  test = {TASK.row(i, "test")["prompt"] for i in range(8)}
  assert not test & {TASK.row(i, "train")["prompt"] for i in range(400)}


@pytest.mark.parametrize(
  "fields, message",
  [({"people": 1}, "people=1"), ({"skill": 2.0}, "skill=2.0"), ({"hops": 0}, "hops=0")],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    multi_hop.MultiHop(**fields)
