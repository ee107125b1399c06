"""What a search found, by hand."""

import numpy as np
import pytest

from rlx.evidence import retrieval


def test_information_gain_and_redundancy_of_the_worked_example():
  # stepsearch_G, stepsearch_r: c = [[.6, .1], [.5, .7]], P = [0, .5].
  gain = retrieval.information_gain(np.array([[0.6, 0.1], [0.5, 0.7]]))
  np.testing.assert_allclose(gain, [0.35, 0.3], atol=2e-5)
  lost = retrieval.redundancy([["a", "b"], ["c", "a"]])
  assert lost.tolist() == [0, 0.5]
  np.testing.assert_allclose(gain - lost, [0.35, -0.2], atol=2e-5)


def test_searches_beyond_the_gold_evidence_gain_nothing():
  covered = np.array([[1.0, 1.0], [1.0, 0.2], [0.0, 0.0]])
  assert retrieval.information_gain(covered).tolist() == [1, 0, 0]


def test_gains_sum_to_the_best_coverage():
  covered = np.random.default_rng(0).uniform(size=(5, 3))
  total = retrieval.information_gain(covered).sum()
  np.testing.assert_allclose(total, covered.max(0).mean())


def test_a_question_without_gold_documents_has_no_step_rewards():
  assert retrieval.coverage(["a b"], []).tolist() == []
  assert retrieval.information_gain(np.zeros((2, 0))).tolist() == [0, 0]
  assert retrieval.sub_answer_gain(np.zeros((2, 0))).tolist() == [0, 0]
  assert retrieval.information_gain(np.zeros((0, 2))).tolist() == []


def test_an_empty_search_and_a_document_twice_in_one_search():
  assert retrieval.redundancy([[], [1, 1], [1]]).tolist() == [0, 0.5, 1]
  assert retrieval.coverage([], ["a"]).tolist() == [0]


def test_erl_pays_what_sub_answers_add():
  # erl_Rsub: u rows (0, 0), (.5, 0), (.4, 1).
  scores = np.array([[0, 0], [0.5, 0], [0.4, 1.0]])
  got = retrieval.sub_answer_gain(scores)
  np.testing.assert_allclose(got, [0, 0.25, 0.5], atol=2e-5)


def test_tf_idf_is_the_smoothed_one_of_unit_length():
  table = retrieval.tf_idf(["a b", "a a c", ""])
  # idf: a in two of three texts, b and c in one: ln(4/3) + 1, ln(4/2) + 1.
  a, b = np.log(4 / 3) + 1, np.log(2) + 1
  want = np.array([[a, b, 0], [2 * a, 0, b], [0, 0, 0]])
  want[:2] /= np.linalg.norm(want[:2], axis=1, keepdims=True)
  np.testing.assert_allclose(table, want)


def test_a_text_is_like_itself_and_unlike_strangers():
  got = retrieval.similarities("The cat.", ["the CAT", "a dog", ""])
  np.testing.assert_allclose(got, [1, 0, 0], atol=1e-12)
  # Best of two documents, for each gold text.
  got = retrieval.coverage(["x y", "z"], ["x y", "z", "w"])
  np.testing.assert_allclose(got, [1, 1, 0], atol=1e-12)


@pytest.mark.parametrize(
  ("answer", "aliases", "f1", "exact"),
  [
    ("The Eiffel Tower!", ["eiffel tower"], 1.0, 1.0),
    ("tower of pisa", ["eiffel tower"], 0.4, 0.0),
    ("tower of pisa", ["eiffel tower", "pisa"], 0.5, 0.0),
    ("a b c", ["b c d", "c"], 0.8, 0.0),  # "a" is an article.
    ("red red", ["red"], 0.6667, 0.0),
    ("the", ["the"], 0.0, 1.0),
    ("x", [], 0.0, 0.0),
    ("", ["x"], 0.0, 0.0),
  ],
)
def test_answers_are_compared_by_their_words(answer, aliases, f1, exact):
  assert retrieval.f1(answer, aliases) == f1
  assert retrieval.exact(answer, aliases) == exact
  got = retrieval.answer_reward(answer, aliases)
  np.testing.assert_allclose(got, (f1 + exact) / 2)


def test_a_query_belongs_to_its_best_group_and_a_later_one_overwrites():
  groups = [["anna mother", "mother of anna"], ["keli boss"]]
  assert retrieval.key_score(["anna mother"], groups) == 0.5
  assert retrieval.key_score(["anna mother", "keli boss"], groups) == 1
  # The second one is worse, and takes the place of the first.
  got = retrieval.key_score(["anna mother", "anna"], groups)
  np.testing.assert_allclose(got, 0.6667 / 2)
  assert retrieval.key_score(["weather"], groups) == 0
  assert retrieval.key_score([], groups) == 0
  assert retrieval.key_score(["x"], []) == 0


def test_the_final_reward_of_the_worked_example():
  # stepsearch_token_rewards ends with F1 .8 + .618 · key .5.
  got = retrieval.final_reward("x b c", ["b c"], ["keli"], [["keli"], ["z"]])
  np.testing.assert_allclose(got, 0.8 + 0.618 * 0.5, atol=2e-5)
  assert retrieval.final_reward(None, ["b"], ["b"], [["b"]]) == -1


@pytest.mark.parametrize(
  ("phase", "step", "gain", "want"),
  [
    ("search", 0, 0.0, "restart"),
    ("search", 0, 0.1, None),
    ("search", 1, 0.0, "search"),
    ("search", 1, -0.5, "search"),
    ("search", 1, 0.1, None),
    ("sub_answer", 0, 0.0, "step"),
    ("sub_answer", 2, 0.5, None),
  ],
)
def test_what_brought_nothing_is_erased(phase, step, gain, want):
  assert retrieval.erasure(phase, step, gain) == want


def test_the_first_search_has_a_threshold_of_its_own():
  assert retrieval.erasure("search", 0, 0.2, alpha=0.1, beta=0.3) == "restart"
  assert retrieval.erasure("search", 1, 0.2, alpha=0.1, beta=0.3) is None
