"""The bench of trees: a tiny instance runs, and what is kept is enough."""

import dataclasses
import json

from rlx.bench import tree
from rlx.commands import bench_tree
from tests import tiny

TINY = tree.Workload(
  prefix_tokens=16,
  prompt_tokens=6,
  boundaries=2,
  continuations=2,
  new_tokens=2,
  branches=(2, 2),
  page_size=4,
  model=dataclasses.replace(tiny.DECODER, vocab_size=512, num_layers=1),
)


def test_a_tiny_instance_says_everything(capsys):
  done = []
  found = tree.run(TINY, repeats=1, report=done.append)
  found = json.loads(json.dumps(found))
  assert done == [0, 1]
  for kind, names in (
    ("values", ("kept", "again", "once")),
    ("tree", ("tree", "leaves")),
  ):
    assert tuple(found[kind]) == names
    for x in found[kind].values():
      assert x["median_s"] >= x["min_s"] > 0
  kv = found["kv"]
  assert kv["read_again"] == 0
  assert kv["distinct"] == 16 + 4 * 2
  # One sequence of 18 tokens is five pages; one is to copy, one stays empty.
  assert kv["pool"] == 7 * 4
  # A copy of the prefix, as long as the longest; and two tokens a row.
  assert (kv["trunk"], kv["tails"]) == (5 * 4, 4 * 2)
  assert kv["total"] == 28 + 20 + 8
  assert kv["ratio"] == kv["total"] / 24
  assert kv["total_bytes"] % kv["total"] == 0
  assert kv["pages"] == 16
  assert kv["page_ratio"] == 1
  bench_tree.show(found)
  assert "values, again" in capsys.readouterr().out
