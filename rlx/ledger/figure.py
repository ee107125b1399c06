"""The ledger as one figure."""

import itertools
import pathlib
from typing import Any

import numpy as np

from rlx.ledger import report
from rlx.view import plots

_ORDER = {"unbiased": 0, "scaled": 1, "biased": 2}


def draw(ledger: dict[str, Any], path: pathlib.Path) -> None:
  """Writes the figure; the suffix of the path tells the format.

  A row for each recipe. Two maps have the largest angle to the true gradient on
  each process, of the credit alone and of the loss; a third panel has the
  factor of every case. Recipes are ordered by verdict and angle.

  Raises:
    ValueError: there is no matplotlib.
  """
  matplotlib, figures = plots.matplotlib(), plots.matplotlib("figure")
  entries = sorted(
    (e for e in ledger["entries"] if "credit" in e),
    key=lambda e: (
      (e["kind"] == "part", _ORDER[e["credit"]["bias"]])
      + (e["credit"]["angle"], e["objective"]["angle"])
    ),
  )
  processes = [p["name"] for p in ledger["processes"]]
  owner = [processes.index(c.partition("/")[0]) for c in ledger["cases"]]
  height = 1.6 + 0.2 * len(entries)
  with matplotlib.rc_context({"font.size": 7.5, "axes.linewidth": 0.5}):
    fig = figures.Figure(figsize=(9.6, height), layout="constrained")
    axes = fig.subplots(1, 3, sharey=True, width_ratios=(1, 1, 0.9))
    image = _angles(axes[0], entries, "credit", processes, ledger["cases"])
    _angles(axes[1], entries, "objective", processes, ledger["cases"])
    _factors(axes[2], entries, processes, owner)
    axes[0].set_title("angle of the credit")
    axes[1].set_title("angle of the whole loss")
    axes[2].set_title("factor of the credit")
    _label(axes, entries)
    bar = fig.colorbar(
      image,
      ax=list(axes[:2]),
      location="bottom",
      shrink=0.5,
      aspect=40,
      fraction=0.5 / height,
      pad=0.02,
    )
    bar.set_label(
      "largest angle to the true gradient, degrees"
      " (dot: below ½; none: the gradient vanishes)"
    )
    bar.outline.set_visible(False)
    handles, names = axes[2].get_legend_handles_labels()
    fig.legend(
      *(handles, names),
      loc="outside lower right",
      ncols=3,
      frameon=False,
      markerscale=2,
      handletextpad=0.1,
    )
    fig.savefig(path, dpi=150)


def _angles(axis, entries, which: str, processes, cases):
  """A map of the largest angle on each process; returns the image."""
  found = [
    [report.largest(e[which]["angles"], cases, p) for p in processes]
    for e in entries
  ]
  shade = lambda angle: 90.0 if angle is None else min(angle, 90.0)
  numbers = np.array([[shade(angle) for angle in line] for line in found])
  image = axis.imshow(numbers, cmap="Blues", vmin=0, vmax=90, aspect="auto")
  for y, line in enumerate(found):
    for x, angle in enumerate(line):
      text = "none" if angle is None else _degrees(angle)
      color = "white" if shade(angle) > 45 else "#222222"
      axis.text(x, y, text, ha="center", va="center", color=color, fontsize=6)
  names = [name.replace("_", " ") for name in processes]
  axis.set_xticks(range(len(processes)), names, rotation=35, ha="right")
  axis.tick_params(length=0)
  axis.set_xticks(np.arange(len(processes) + 1) - 0.5, minor=True)
  axis.set_yticks(np.arange(len(entries) + 1) - 0.5, minor=True)
  axis.grid(which="minor", color="#dddddd", linewidth=0.4)
  axis.tick_params(which="minor", length=0)
  for side in axis.spines.values():
    side.set_visible(False)
  return image


def _degrees(angle: float) -> str:
  """Whole degrees, a dot for less than one, and nothing for none."""
  return f"{angle:.0f}" if angle >= 0.5 else "·" * (angle > 1e-6)


def _factors(axis, entries, processes, owner) -> None:
  """A point for each case, in the colour of its process."""
  colors = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#777777")
  axis.axvline(1.0, color="#222222", linewidth=0.6)
  for process, name in enumerate(processes):
    points = [
      (factor, y)
      for y, entry in enumerate(entries)
      for factor, p in zip(entry["credit"]["factors"], owner, strict=True)
      if p == process
    ]
    x, y = zip(*points, strict=True)
    offset = (process - (len(processes) - 1) / 2) * 0.11
    color = colors[process % len(colors)]
    axis.plot(
      x,
      np.add(y, offset),
      ".",
      ms=4,
      color=color,
      mew=0,
      label=name.replace("_", " "),
    )
  axis.set_xscale("symlog", linthresh=0.5, linscale=0.5)
  axis.set_xticks((-1, 0, 0.5, 1, 2, 4), ("-1", "0", "½", "1", "2", "4"))
  axis.minorticks_off()
  axis.grid(axis="y", color="#eeeeee", linewidth=0.4)
  axis.set_axisbelow(True)
  axis.tick_params(axis="y", length=0)
  axis.set_xlabel("of the true gradient")
  for side in ("top", "right", "left"):
    axis.spines[side].set_visible(False)


def _label(axes, entries) -> None:
  """Names of the rows, and lines where the verdict changes."""
  names = [e["name"].replace("_", " ") for e in entries]
  axes[0].set_yticks(range(len(entries)), names)
  blocks = itertools.groupby(
    range(len(entries)),
    lambda y: (entries[y]["kind"], entries[y]["credit"]["bias"]),
  )
  last = entries[0]["kind"] if entries else ""
  for (kind, bias), rows in blocks:
    first, *_, end = [*rows] * 2
    for axis in axes if first else ():
      width = 0.6 if kind == last else 1.4
      axis.axhline(first - 0.5, color="#222222", linewidth=width)
    last = kind
    axes[2].text(
      1.02,
      (first + end) / 2,
      bias if kind == "recipe" else f"part: {bias}",
      transform=axes[2].get_yaxis_transform(),
      va="center",
      fontsize=6.5,
    )
