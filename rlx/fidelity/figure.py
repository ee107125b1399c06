"""The figure: metrics against what was spent, and recipes in their order."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from rlx.fidelity import picked
from rlx.view import plots

# Okabe and Ito's colours, which people of all kinds of sight can tell apart.
COLOURS = {
  "outcome": "#555555",
  "states": "#0072B2",
  "critic": "#CC79A7",
  "steps": "#E69F00",
  "continuations": "#D55E00",
  "tree": "#009E73",
}
FAMILIES = {
  "outcome": "outcomes",
  "states": "shared states",
  "critic": "critic",
  "steps": "step evidence",
  "continuations": "continuations",
  "tree": "trees",
}
METRICS = {
  "rank": "Rank correlation",
  "sign": "Sign agreement",
  "cosine": "Gradient cosine",
}
WORLDS = {"lake": "FrozenLake", "reasoning": "Branching reasoning"}
SUFFIXES = (".svg", ".pdf", ".png")
EXACT, EXACT_TREE = "(exact)", "(exact tree)"
_CEILINGS = {EXACT: "black", EXACT_TREE: COLOURS["tree"]}


def check(path: str) -> None:
  """Refuses what could not be drawn, before anything is measured.

  Raises:
    ValueError: the file's suffix is none of `SUFFIXES`, its folder is missing,
      or matplotlib is.
  """
  file = pathlib.Path(path)
  if file.suffix not in SUFFIXES:
    raise ValueError(f"--figure={path}: must end in {', '.join(SUFFIXES)}")
  if not file.absolute().parent.is_dir():
    raise ValueError(f"--figure={path}: there is no folder {file.parent}")
  plots.matplotlib()


def draw(found: dict[str, Any], path: pathlib.Path) -> None:
  """Draws the study into a file; see `check` for what must be there."""
  pyplot: Any = plots.matplotlib("pyplot")
  with pyplot.rc_context(_STYLE):
    rows = picked.ranked(found)
    height = max(6.0, 1.4 + 0.195 * len(rows))
    figure = pyplot.figure(figsize=(13, height), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.75, 1.0))
    _multiples(left, found)
    _ranking(right, found, rows)
    figure.savefig(path, dpi=96, metadata=_METADATA.get(path.suffix))
    pyplot.close(figure)


_STYLE = {
  "font.size": 9,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.titlesize": 9,
  "axes.titleweight": "bold",
  "axes.titlelocation": "left",
  "axes.labelcolor": "#333333",
  "axes.edgecolor": "#888888",
  "xtick.color": "#333333",
  "ytick.color": "#333333",
  "svg.hashsalt": "rlx",  # The same numbers give the same file.
}
_METADATA = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def _multiples(figure, found) -> None:
  """Rows of worlds, columns of metrics, a line for each family."""
  worlds = [world["name"] for world in found["worlds"]]
  axes = figure.subplots(
    len(worlds), len(METRICS), sharex="row", sharey="col", squeeze=False
  )
  best = picked.best(found)
  for i, world in enumerate(worlds):
    for j, (metric, title) in enumerate(METRICS.items()):
      ax = axes[i, j]
      _panel(ax, found, world, metric, best)
      if i == 0:
        ax.set_title(title)
      if j == 0:
        ax.set_ylabel(WORLDS.get(world, world), fontweight="bold", fontsize=10)
      if i + 1 == len(worlds):
        ax.set_xlabel("steps per prompt")
    _label(axes[i, -1], found, world, "cosine", best)
  groups, extras = found["size"]["groups"], found["size"]["extras"]
  caption = _CAPTION.format(
    groups=f"{groups[0]} to {groups[-1]}",
    extra=found["size"]["extra"],
    extras=f"{extras[0]} to {extras[-1]}",
    group=found["size"]["group"],
  )
  figure.supxlabel(caption, fontsize=8, color="#333333", x=0.01, ha="left")


_CAPTION = """Bold: the best recipe of each family by what its credit is made \
from; thin: the others. Groups of {groups}
(trees: leaves), K = {extra} continuations at each boundary; dotted: K = \
{extras} at groups of {group}; dashed: exact
advantages, and in green the same on trees. Bands and bars: 95%. \
*: evidence simulated from the exact
values. +n: n more recipes have the same credit, but for its scale."""


def _panel(ax, found, world: str, metric: str, best) -> None:
  ax.set_xscale("log", base=2)
  ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
  ax.grid(axis="y", color="#eeeeee", linewidth=0.8)
  ax.set_axisbelow(True)
  for entry in picked.shown(found):
    if entry["family"] == "control":
      continue
    name, colour = entry["name"], COLOURS[entry["family"]]
    bold = best[entry["family"]] == name
    x, y, low, high = _line(picked.records(found, name, world), metric)
    ax.plot(
      x,
      y,
      color=colour,
      linewidth=2.0 if bold else 0.7,
      alpha=1.0 if bold else 0.45,
      marker="o" if bold else None,
      markersize=3.5,
      zorder=3 if bold else 1,
    )
    if bold:
      ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
      x, y, *_ = _line(picked.records(found, name, world, "extra"), metric)
      ax.plot(x, y, color=colour, linewidth=1.2, linestyle=":", zorder=2)
  for name, colour in _CEILINGS.items():
    x, y, *_ = _line(picked.records(found, name, world), metric)
    ax.plot(x, y, color=colour, linewidth=1.0, linestyle="--", zorder=2)


def _line(chosen: Sequence[dict], metric: str) -> list[list[float]]:
  points = [(r["steps"], r["metrics"][metric]) for r in chosen]
  return [
    [steps for steps, _ in points],
    *([m[key] for _, m in points] for key in ("value", "low", "high")),
  ]


def _label(ax, found, world, metric, best) -> None:
  """Names at the ends of the lines, moved apart where they would overlap."""
  ends = []
  for family, name in [*best.items(), ("exact", EXACT)]:
    x, y, *_ = _line(picked.records(found, name, world), metric)
    text = "exact advantages"
    if name != EXACT:
      entry = next(e for e in found["recipes"] if e["name"] == name)
      text = f"{FAMILIES[family]}: {picked.name(found, entry)}"
    ends.append((y[-1], x[-1], text, COLOURS.get(family, "black")))
  low, high = ax.get_ylim()
  gap = 0.058 * (high - low)
  place = _apart([y for y, *_ in ends], gap)
  for (y, x, text, colour), at in zip(ends, place, strict=True):
    ax.annotate(
      text,
      xy=(x, y),
      xytext=(1.07, at),
      textcoords=ax.get_yaxis_transform(),
      color=colour,
      fontsize=8,
      va="center",
      annotation_clip=False,
      arrowprops={
        "arrowstyle": "-",
        "color": colour,
        "linewidth": 0.5,
        "alpha": 0.6,
        "shrinkA": 1,
        "shrinkB": 3,
      },
    )


def _apart(places: Sequence[float], gap: float) -> list[float]:
  """The places, at least `gap` from each other, near where they were."""
  order = np.argsort(places)
  moved = np.asarray(places, float)[order]
  for _ in range(200):
    close = np.diff(moved) < gap - 1e-9
    if not close.any():
      break
    for i in np.flatnonzero(close):
      short = (gap - (moved[i + 1] - moved[i])) / 2
      moved[i] -= short
      moved[i + 1] += short
  out = np.empty(len(moved))
  out[order] = moved
  return out.tolist()


def _ranking(figure, found, rows) -> None:
  """A dot with its interval for each recipe and set of worlds."""
  ax = figure.subplots()
  worlds = [world["name"] for world in found["worlds"]]
  for i, world in enumerate(worlds):
    for y, entry in enumerate(rows):
      metric = picked.at(found, entry["name"], world)["metrics"]["cosine"]
      colour = COLOURS.get(entry["family"], "black")
      at = y + 0.14 * (1 - 2 * i)
      ax.plot(
        [metric["low"], metric["high"]], [at, at], color=colour, linewidth=1.0
      )
      ax.plot(
        [metric["value"]],
        [at],
        marker="o",
        markersize=4.5,
        color=colour,
        markerfacecolor=colour if i == 0 else "white",
      )
  ax.axvline(0, color="#888888", linewidth=0.8)
  ax.set_yticks(range(len(rows)), [picked.name(found, x) for x in rows])
  for label, entry in zip(ax.get_yticklabels(), rows, strict=True):
    label.set_color(COLOURS.get(entry["family"], "black"))
  ax.set_ylim(-0.7, len(rows) - 0.3)
  ax.grid(axis="x", color="#eeeeee", linewidth=0.8)
  ax.set_axisbelow(True)
  ax.tick_params(axis="y", length=0, labelsize=8)
  for y, entry in enumerate(rows):
    steps = [
      picked.at(found, entry["name"], world)["steps"] for world in worlds
    ]
    ax.text(
      1.01,
      y,
      " / ".join(f"{x:.0f}" for x in steps),
      transform=ax.get_yaxis_transform(),
      fontsize=7,
      color="#777777",
      va="center",
    )
  ax.text(
    *(1.01, len(rows) - 0.3, "steps"),
    transform=ax.get_yaxis_transform(),
    fontsize=7,
    color="#777777",
    va="bottom",
  )
  ax.set_xlabel("gradient cosine, 95% intervals")
  ax.set_title(f"Groups of {found['size']['group']}")
  for i, world in enumerate(worlds):
    face = "#333333" if i == 0 else "white"
    ax.plot(
      [],
      [],
      "o",
      color="#333333",
      markerfacecolor=face,
      label=WORLDS.get(world, world),
    )
  ax.legend(loc="upper left", frameon=False, fontsize=8, handletextpad=0.2)
