"""README.md of an exported model, with the front matter that hubs read."""

import dataclasses
import json


@dataclasses.dataclass(frozen=True)
class Card:
  """What a model card says.

  Attributes:
    body: Markdown: command, configuration, results.
    base_model: Name of the model that training began from.
    tags: Beside `rlx`, which is always there.
    datasets: Names.
    license: Identifier, where known.
  """

  body: str = ""
  base_model: str | None = None
  tags: tuple[str, ...] = ()
  datasets: tuple[str, ...] = ()
  license: str | None = None


def render(card: Card) -> str:
  """The card as text. Strings are quoted as JSON, which is valid YAML."""
  lines = ["---"]
  for name in ("base_model", "license"):
    if getattr(card, name):
      lines.append(f"{name}: {json.dumps(getattr(card, name))}")
  lines += ["library_name: rlx", "pipeline_tag: text-generation", "tags:"]
  lines += [
    f"- {json.dumps(tag)}" for tag in dict.fromkeys(("rlx", *card.tags))
  ]
  if card.datasets:
    lines += ["datasets:", *(f"- {json.dumps(d)}" for d in card.datasets)]
  return "\n".join([*lines, "---", "", card.body.strip(), ""])
