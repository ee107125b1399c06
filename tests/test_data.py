"""Rows, sources, prompts and demonstrations."""

import itertools
import json
import pathlib

import numpy as np
import pytest

from rlx import data, tokenizer
from rlx.data import gsm8k, sft

GSM8K = pathlib.Path(__file__).parents[1] / "../shared/data/gsm8k"
WORDS = tokenizer.WordTokenizer(list("abcdefgh"))
USER, ASSISTANT, END = 3, 4, 1  # Special ids of WORDS; its words begin at 5.


def write(path, rows):
  path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
  return path


def letters(*lengths):
  return [{"prompt": "a " * n, "answer": n} for n in lengths]


# Sources.


def test_json_lines_are_read_by_index(tmp_path):
  rows = [{"prompt": "é" * n, "n": n} for n in range(5)]
  source = data.JsonLines(write(tmp_path / "x.jsonl", rows))
  assert len(source) == 5
  assert [source[i] for i in (4, 0, 2, -1)] == [rows[i] for i in (4, 0, 2, 4)]


def test_a_bad_line_is_named(tmp_path):
  path = tmp_path / "x.jsonl"
  path.write_text('{"a": 1}\n\n{"a": \n[1]\n')
  source = data.JsonLines(path)
  with pytest.raises(ValueError, match=r"line 3 of .*x.jsonl is not JSON"):
    source[1]
  with pytest.raises(ValueError, match=r"line 4 of .*x.jsonl is not an object"):
    source[2]


def test_an_empty_or_missing_data_set_is_refused(tmp_path):
  with pytest.raises(ValueError, match="no file"):
    data.JsonLines(tmp_path / "absent.jsonl")
  with pytest.raises(ValueError, match="is empty: it has 0 rows"):
    data.JsonLines(write(tmp_path / "x.jsonl", []))
  with pytest.raises(ValueError, match="is empty: it has 0 rows"):
    data.tokenise([], WORDS)


def test_columns_pass_through_by_name():
  rows = [{"prompt": "a b", "answer": "7", "task": {"id": 3}}]
  batch = next(data.batches(data.tokenise(rows, WORDS), num_prompts=1, seed=0))
  assert batch.rows == rows


def test_a_verl_row_gives_its_ground_truth():
  row = {
    "data_source": "gsm8k",
    "prompt": [{"role": "user", "content": "a"}],
    "reward_model": {"style": "rule", "ground_truth": "7"},
    "extra_info": {"index": 0},
  }
  assert data.from_verl(row) == {**row, "ground_truth": "7"}
  with pytest.raises(ValueError, match=r"no column 'reward_model'; it has \["):
    data.from_verl({"data_source": "x", "prompt": "a"})


# GSM8K.

QUESTIONS = [
  {"question": "Half of 48?", "answer": "It is <<48/2=24>>24.\n#### 24"},
  {"question": "Ten times 100?", "answer": "So 1,000.\n#### 1,000"},
]


def test_gsm8k_is_prepared_once_and_read_through_tfds(tmp_path):
  source = tmp_path / "gsm8k"
  source.mkdir()
  write(source / "train.jsonl", QUESTIONS)
  write(source / "test.jsonl", QUESTIONS[:1])
  cache = tmp_path / "cache"
  train = gsm8k.gsm8k(source, instruction="Think.", cache_dir=cache)
  assert [train[i] for i in range(len(train))] == [
    {
      "prompt": [{"role": "user", "content": "Half of 48?\nThink."}],
      "completion": [{"role": "assistant", "content": "It is 24.\n#### 24"}],
      "answer": "24",
      "solution": QUESTIONS[0]["answer"],
    },
    {
      "prompt": [{"role": "user", "content": "Ten times 100?\nThink."}],
      "completion": [{"role": "assistant", "content": "So 1,000.\n#### 1,000"}],
      "answer": "1,000",
      "solution": QUESTIONS[1]["answer"],
    },
  ]
  (prepared,) = cache.iterdir()
  before = {p: p.stat().st_mtime_ns for p in cache.rglob("*")}
  assert len(gsm8k.gsm8k(source, "test", cache_dir=cache)) == 1
  assert {p: p.stat().st_mtime_ns for p in cache.rglob("*")} == before
  # A directory that tfds has prepared is read as it is.
  chat = gsm8k.gsm8k(prepared, system="Be brief.")[0]["prompt"]
  assert [m["role"] for m in chat] == ["system", "user"]
  with pytest.raises(ValueError, match="no split 'dev'; it has"):
    gsm8k.gsm8k(prepared, "dev")
  # Other contents, other files.
  write(source / "test.jsonl", QUESTIONS)
  assert len(gsm8k.gsm8k(source, "test", cache_dir=cache)) == 2


def test_a_directory_without_gsm8k_says_what_it_holds(tmp_path):
  (tmp_path / "notes.txt").write_text("")
  with pytest.raises(ValueError, match=r"files found: \['notes.txt'\]"):
    gsm8k.gsm8k(tmp_path)


@pytest.mark.skipif(not GSM8K.is_dir(), reason="the data set is not here")
def test_the_real_gsm8k_becomes_prompts(tmp_path):
  rows = gsm8k.gsm8k(GSM8K, "test", cache_dir=tmp_path)
  prompts = data.tokenise(
    rows, tokenizer.ByteTokenizer(), max_prompt_length=2048
  )
  assert len(prompts) == 1319
  line = json.loads((GSM8K / "test.jsonl").read_text().splitlines()[7])
  row, tokens = prompts[7]
  assert tokenizer.ByteTokenizer().decode(tokens) == line["question"]
  assert row["answer"] == line["answer"].split("#### ")[1]


# Prompts.


def test_text_follows_bos_and_messages_follow_the_template():
  b = tokenizer.ByteTokenizer()
  assert data.prompt_tokens({"prompt": "a"}, b) == [1, 100]
  chat = [{"role": "user", "content": "a"}]
  assert data.prompt_tokens({"prompt": chat}, b) == [1, 260, 100, 261]
  assert data.prompt_tokens({"prompt": "a b"}, WORDS) == [5, 6]


def test_long_prompts_are_counted_before_anything_else():
  rows = letters(1, 5, 2, 7)
  match = r"2 of 4 prompts are longer than max_prompt_length=4 \(longest 7\): .*'drop'"
  with pytest.raises(ValueError, match=match):
    data.tokenise(rows, WORDS, max_prompt_length=4)


def test_long_prompts_are_dropped_or_cut_only_by_choice():
  rows = letters(1, 5, 2) + [{"prompt": "a b c d e"}]
  options = {"max_prompt_length": 3}
  dropped = data.tokenise(rows, WORDS, long_prompts="drop", **options)
  assert [len(dropped[i][1]) for i in range(len(dropped))] == [1, 2]
  cut = data.tokenise(rows, WORDS, long_prompts="truncate_left", **options)
  assert (cut.num_long, cut.longest, len(cut)) == (2, 5, 4)
  assert cut[3][1] == WORDS.encode("c d e")
  with pytest.raises(ValueError, match=r"4 of 4 .*none are left"):
    data.tokenise(letters(4, 4, 4, 5), WORDS, long_prompts="drop", **options)


@pytest.mark.parametrize(
  ("row", "match"),
  [
    ({"question": "a"}, r"no column 'prompt'; it has \['question'\]"),
    ({"prompt": ""}, "the prompt '' has no tokens"),
    ({"prompt": 3}, "neither text nor a list of messages, but int '3'"),
    ({"prompt": [{"role": "user"}]}, "no 'role' and 'content'"),
  ],
)
def test_a_bad_prompt_is_named(row, match):
  with pytest.raises(ValueError, match=f"row 0.*{match}"):
    data.tokenise([row], WORDS)
  with pytest.raises(ValueError, match=f"row 1.*{match}"):
    data.tokenise([{"prompt": "a"}, row], WORDS, max_prompt_length=9)


# Batches.


def take(n, seed=3, **options):
  prompts = data.tokenise(letters(*range(1, 8)), WORDS)
  batches = data.batches(prompts, num_prompts=4, seed=seed, **options)
  return list(itertools.islice(batches, n))


def answers(batches):
  return [row["answer"] for batch in batches for row in batch.rows]


def test_each_epoch_is_a_permutation_of_its_own():
  seen = answers(take(7))
  epochs = [tuple(seen[i : i + 7]) for i in range(0, 28, 7)]
  assert all(sorted(epoch) == list(range(1, 8)) for epoch in epochs)
  assert len(set(epochs)) == 4
  assert answers(take(7)) == seen
  assert answers(take(7, seed=4)) != seen


@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_a_run_resumes_exactly_from_its_cursor(after):
  whole = take(8)
  cursor = whole[after - 1].cursor if after else 0
  assert take(8 - after, cursor=cursor) == whole[after:]


def test_any_index_of_the_order_has_its_prompt():
  order = data.ordered(data.tokenise(letters(*range(1, 8)), WORDS), seed=3)
  assert [order[i][0]["answer"] for i in range(28)] == answers(take(7))
  assert order[10**6] == order[10**6]


def test_prompt_ids_are_unique_and_increasing():
  ids = [i for batch in take(6) for i in batch.ids]
  assert ids == list(range(24))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_processes_share_what_one_would_see(count):
  shares = [take(5, process_index=i, process_count=count) for i in range(count)]
  for whole, *parts in zip(take(5), *shares, strict=True):
    assert [i for p in parts for i in p.ids] == whole.ids
    assert [x for p in parts for x in p.tokens] == whole.tokens
    assert {p.cursor for p in parts} == {whole.cursor}


def test_a_finite_pass_loses_nothing():
  batches = take(None, shuffle=False, num_epochs=1)
  assert answers(batches) == list(range(1, 8))
  assert [len(b.ids) for b in batches] == [4, 3]
  parts = [
    take(None, shuffle=False, num_epochs=1, process_index=i, process_count=4)
    for i in range(4)
  ]
  assert sorted(itertools.chain(*map(answers, parts))) == list(range(1, 8))


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest():
  prompts = data.tokenise(letters(1), WORDS)
  with pytest.raises(ValueError, match=r"=6 .* 4 processes.* are 4 and 8"):
    data.batches(prompts, num_prompts=6, seed=0, process_count=4)
  with pytest.raises(ValueError, match="cursor=-1"):
    data.batches(prompts, num_prompts=6, seed=0, cursor=-1)
  with pytest.raises(ValueError, match="seed=-1"):
    data.batches(prompts, num_prompts=6, seed=-1)


# Demonstrations.

TALK = {
  "messages": [
    {"role": "user", "content": "a b"},
    {"role": "assistant", "content": "c"},
    {"role": "user", "content": "d"},
    {"role": "assistant", "content": "e f"},
  ]
}
A, B, C, D, E, F, G, H = range(5, 13)


def test_masks_have_holes_and_hold_the_end_of_each_turn():
  tokens, mask = data.render(TALK, WORDS)
  assert tokens == [
    *[USER, A, B, ASSISTANT, C, END],
    *[USER, D, ASSISTANT, E, F, END],
  ]
  assert [t for t, m in zip(tokens, mask, strict=True) if m] == [
    *[C, END],
    *[E, F, END],
  ]


def test_spans_tile_the_conversation():
  tokens, mask = data.render(TALK, WORDS)
  turns = [WORDS.chat(TALK["messages"][:1]), WORDS.turn("d")]
  replies = [[C, END], [E, F, END]]
  tiles = [turns[0], replies[0], turns[1], replies[1]]
  assert list(itertools.chain(*tiles)) == tokens
  lengths = [len(tile) for tile in tiles]
  assert mask == np.repeat([False, True, False, True], lengths).tolist()


def test_messages_win_over_prompt_and_completion():
  row = TALK | {"prompt": "g", "completion": "h"}
  assert data.render(row, WORDS) == data.render(TALK, WORDS)


def test_only_the_completion_is_learnt():
  row = {
    "prompt": TALK["messages"][:3],
    "completion": TALK["messages"][3:],
  }
  tokens, mask = data.render(row, WORDS)
  assert tokens == data.render(TALK, WORDS)[0]
  assert [t for t, m in zip(tokens, mask, strict=True) if m] == [E, F, END]
  assert data.render({"prompt": "a b", "completion": "c"}, WORDS) == (
    [A, B, C, END],
    [False, False, True, True],
  )


@pytest.mark.parametrize(
  ("row", "match"),
  [
    ({"text": "a"}, r"neither 'messages' nor .*; it has \['text'\]"),
    ({"prompt": "a", "completion": TALK["messages"]}, "'prompt' is str but"),
    ({"messages": TALK["messages"][:1]}, r"no assistant's turn .*\['user'\]"),
  ],
)
def test_a_bad_demonstration_is_named(row, match):
  with pytest.raises(ValueError, match=f"row 3.*{match}"):
    data.render(row, WORDS, 3)


class Rewriting(tokenizer.WordTokenizer):
  """Drops the first word of every turn but the last, as Qwen3 does thoughts."""

  def chat(self, messages, add_generation_prompt=True):
    old = [
      {**m, "content": " ".join(m["content"].split()[1:])}
      for m in messages[:-1]
    ]
    return super().chat([*old, *messages[-1:]], add_generation_prompt)


def test_a_template_that_rewrites_history_is_refused():
  words = Rewriting(list("abcdefgh"))
  with pytest.raises(ValueError, match="row 0: the chat template rewrites"):
    data.render(TALK, words)


ROWS = [
  {"prompt": "a", "completion": "b"},  # 3 tokens
  {"prompt": "c d", "completion": "e f"},  # 5 tokens
  {"prompt": "g", "completion": "h"},  # 3 tokens
]


def test_padded_rows_are_a_line_each():
  batch = data.sft_rows(ROWS, WORDS)
  assert batch.tokens.tolist() == [
    [A, B, END, 0, 0],
    [C, D, E, F, END],
    [G, H, END, 0, 0],
  ]
  assert batch.mask.astype(int).tolist() == [
    [0, 1, 1, 0, 0],
    [0, 0, 1, 1, 1],
    [0, 1, 1, 0, 0],
  ]
  assert batch.segments.tolist() == [[1, 1, 1, 0, 0], [1] * 5, [1, 1, 1, 0, 0]]
  assert batch.positions.tolist()[0] == [0, 1, 2, 0, 0]


def test_packed_rows_share_lines_in_segments():
  batch = data.sft_rows(ROWS, WORDS, length=7, pack=True)
  assert batch.tokens.tolist() == [
    [A, B, END, G, H, END, 0],
    [C, D, E, F, END, 0, 0],
  ]
  assert batch.segments.tolist() == [
    [1, 1, 1, 2, 2, 2, 0],
    [1, 1, 1, 1, 1, 0, 0],
  ]
  assert batch.positions.tolist() == [
    [0, 1, 2, 0, 1, 2, 0],
    [0, 1, 2, 3, 4, 0, 0],
  ]
  padded = data.sft_rows(ROWS, WORDS)
  assert batch.mask.sum() == padded.mask.sum()


def test_masks_do_not_depend_on_the_padding_token():
  words = tokenizer.WordTokenizer(list("abcdefgh"))
  words.pad_id = END
  usual, other = data.sft_rows(ROWS, WORDS), data.sft_rows(ROWS, words)
  assert other.tokens[0].tolist() == [A, B, END, END, END]
  np.testing.assert_array_equal(other.mask, usual.mask)
  np.testing.assert_array_equal(other.segments, usual.segments)


def demonstrations(n, length=12, **options):
  rows = [{"prompt": "a " * k, "completion": "b"} for k in range(1, 10)]
  batches = data.sft_batches(
    rows, WORDS, batch_size=2, length=length, seed=1, **options
  )
  return list(itertools.islice(batches, n))


@pytest.mark.parametrize("pack", [False, True])
def test_demonstrations_resume_exactly_from_their_cursor(pack):
  whole = demonstrations(8, pack=pack)
  rest = demonstrations(5, pack=pack, cursor=whole[2].cursor)
  for want, got in zip(whole[3:], rest, strict=True):
    for x, y in zip(want, got, strict=True):
      np.testing.assert_array_equal(x, y)


def test_rows_too_many_to_keep_are_rendered_again(monkeypatch):
  whole = demonstrations(5)
  monkeypatch.setattr(sft._Lines, "MAX_KEPT", 10)
  for want, got in zip(whole, demonstrations(5), strict=True):
    np.testing.assert_array_equal(want.tokens, got.tokens)


@pytest.mark.parametrize("pack", [False, True])
def test_an_epoch_of_demonstrations_loses_nothing(pack):
  batches = demonstrations(None, pack=pack, num_epochs=1)
  assert batches[-1].cursor == 9
  assert sum(b.mask.sum() for b in batches) == 9 * 2
  assert sum((b.segments > 0).sum() for b in batches) == sum(range(3, 12))
  assert {b.tokens.shape for b in batches} == {(2, 12)}


def test_long_demonstrations_are_counted_cut_or_dropped():
  with pytest.raises(
    ValueError, match=r"4 of 9 rows .*length=7 \(longest 11\)"
  ):
    demonstrations(1, length=7)
  cut = demonstrations(None, length=7, long_rows="truncate", num_epochs=1)
  assert sum((b.segments[:, -1] > 0).sum() for b in cut) == 5
  kept = demonstrations(None, length=7, long_rows="drop", num_epochs=1)
  assert kept[-1].cursor == 5
