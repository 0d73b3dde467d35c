"""Pictures of what a frozen backbone knows of anatomy, in three files."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from foundationx.core.atomic_write import replacing
from foundationx.evaluation.anatomy.measures import correspondence, cosines_of, grid_of
from foundationx.evaluation.anatomy.suite import AnatomyMeasures, Measured, Radiograph, Settings
from foundationx.evaluation.report.anatomy_page import FOLDER
from foundationx.evaluation.statistic import MEAN

INK, QUIET, GRID = "#1f2a37", "#6b7787", "#e4e8ee"
TEACHER = "#0b6e99"

STYLE: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "path",
    "svg.hashsalt": "foundationx",
}

MOST_LANDMARKS = 10
MAPS = 3
"""Other patients' radiographs that a similarity map is drawn over."""

_ERROR = matplotlib.colormaps["autumn_r"]


@dataclass(frozen=True)
class Correspondences:
    """What the pictures show: radiographs, what was measured by the model (named ``who``) and untrained, and how."""

    radiographs: Sequence[Radiograph]
    result: AnatomyMeasures
    bare: Sequence[Measured]
    settings: Settings
    who: str

    @property
    def size(self) -> int:
        """Side of the radiographs in pixels."""
        return self.radiographs[0].image.shape[0]

    @property
    def positions(self) -> np.ndarray:
        """(M, 2) positions that were searched."""
        return grid_of(self.size, self.settings.step)

    def own(self, radiograph: int) -> list[str]:
        """Landmarks of a radiograph, in the order of its features."""
        return [name for name in self.result.landmarks if name in self.radiographs[radiograph].landmarks]

    def errors(self, query: int, target: int, names: Sequence[str]) -> np.ndarray:
        """(len(names),) in pixels."""
        rows = self.result.queries[query][[self.own(query).index(name) for name in names]]
        truth = np.array([self.radiographs[target].landmarks[name] for name in names])
        return correspondence(rows, self.result.keys[target], self.positions, truth)

    def similar(self, query: int, name: str, target: int) -> np.ndarray:
        """(M,) cosines of one landmark's feature to all positions of another radiograph."""
        row = self.result.queries[query][[self.own(query).index(name)]]
        return cosines_of(row, self.result.keys[target])[0].numpy()


def draw_all(data: Correspondences, folder: Path) -> list[Path]:
    """Writes the pictures that there is something for into ``folder/anatomy``; gives their paths."""
    with plt.rc_context(STYLE):
        drawn = {"measures": measures(data)}
        if data.result.queries:
            drawn |= {"correspondence": correspondences(data), "similarity": similarity(data)}
        return [_save(figure, folder / FOLDER / f"{name}.png") for name, figure in drawn.items()]


def _save(figure: Figure, path: Path) -> Path:
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110, format="png")
    plt.close(figure)
    return path


def correspondences(data: Correspondences) -> Figure:
    """Two radiographs, landmarks of the first and their best matches in the second; lines are coloured by error."""
    query, target = _middle_pair(data)
    shared = [name for name in data.own(query) if name in data.radiographs[target].landmarks]
    names = [shared[n] for n in np.unique(np.linspace(0, len(shared) - 1, MOST_LANDMARKS).round().astype(int))]
    errors = data.errors(query, target, names)
    size, gap = data.size, data.size * 0.12
    figure, axis = plt.subplots(figsize=(11, 6.1), layout="constrained")
    for shift, radiograph in ((0.0, data.radiographs[query]), (size + gap, data.radiographs[target])):
        axis.imshow(radiograph.image, cmap="gray", vmin=0, vmax=255, extent=(shift, shift + size, size, 0))
    scale = Normalize(0, max(float(errors.max()), data.settings.step))
    for number, (name, error) in enumerate(zip(names, errors, strict=True), 1):
        y, x = data.radiographs[query].landmarks[name]
        there = data.positions[data.similar(query, name, target).argmax()]
        true = data.radiographs[target].landmarks[name]
        colour = _ERROR(scale(error))
        right = size + gap
        axis.plot([x, there[1] + right], [y, there[0]], color=colour, lw=1.3, alpha=0.9)
        axis.plot([true[1] + right, there[1] + right], [true[0], there[0]], ":", color="white", lw=1.4)
        axis.plot(x, y, "o", ms=6, color=colour, mec="white", mew=1)
        axis.plot(there[1] + right, there[0], "X", ms=8, color=colour, mec="white", mew=0.8)
        axis.plot(true[1] + right, true[0], "o", ms=9, mfc="none", mec="white", mew=1.6)
        axis.annotate(str(number), (x, y), (-9, 5), textcoords="offset points", color="white", weight="bold")
    _frame(axis, (0, 2 * size + gap), size)
    axis.text(0, -0.02 * size, f"landmarks of one patient ({_short(data.radiographs[query].name)})")
    axis.text(size + gap, -0.02 * size, f"located in another ({_short(data.radiographs[target].name)})")
    bar = figure.colorbar(ScalarMappable(scale, _ERROR), ax=axis, shrink=0.8, pad=0.01)
    bar.set_label(f"error in pixels of {size}")
    bar.outline.set_visible(False)
    _keys(axis)
    listed = [
        f"{number} {name.replace(': ', ', ')} ({error:.0f})" for number, (name, error) in _numbered(names, errors)
    ]
    rows = ["    ".join(listed[start : start + 4]) for start in range(0, len(listed), 4)]
    figure.supxlabel("\n".join(rows), fontsize=8, color=QUIET)
    return figure


def _numbered(names: Sequence[str], errors: np.ndarray) -> list[tuple[int, tuple[str, float]]]:
    return list(enumerate(zip(names, errors, strict=True), 1))


def _keys(axis: Axes) -> None:
    """What the marks mean, below the radiographs."""
    marks: list[tuple[str, dict[str, Any], str]] = [
        ("o", {"color": QUIET}, "landmark"),
        ("X", {"color": QUIET, "ms": 8}, "most similar position"),
        ("o", {"mfc": "none", "mec": INK, "ms": 9}, "true position"),
    ]
    for mark, look, label in marks:
        axis.plot([], [], mark, ls="", label=label, **look)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.005), ncols=3)


def _middle_pair(data: Correspondences) -> tuple[int, int]:
    """The ordered pair of radiographs whose mean error is the median of all pairs that share a landmark."""
    means: list[tuple[float, tuple[int, int]]] = []
    for query, target in itertools.permutations(range(len(data.radiographs)), 2):
        shared = [name for name in data.own(query) if name in data.radiographs[target].landmarks]
        if shared:
            means.append((float(data.errors(query, target, shared).mean()), (query, target)))
    return sorted(means)[len(means) // 2][1]


def similarity(data: Correspondences) -> Figure:
    """Similarity maps of the landmark with the least error, and of the one with the median error."""
    by_name = {row.class_name: row.value for row in data.result.measured if _is_error(row) and row.class_name != MEAN}
    ordered = sorted(by_name, key=by_name.__getitem__)
    names = list(dict.fromkeys([ordered[0], ordered[len(ordered) // 2]]))
    figure, axes = plt.subplots(
        len(names), 1 + MAPS, figsize=(11, 3.3 * len(names)), squeeze=False, layout="constrained"
    )
    for row, name in zip(axes, names, strict=True):
        owners = [n for n in range(len(data.radiographs)) if name in data.radiographs[n].landmarks]
        query, targets = owners[0], owners[1 : 1 + MAPS]
        _show(row[0], data, query)
        y, x = data.radiographs[query].landmarks[name]
        row[0].plot(x, y, "o", ms=8, color="#ff8c3a", mec="white", mew=1.2)
        row[0].set_title(f"{name.replace(': ', ', ')}\nof one patient")
        maps = [data.similar(query, name, target) for target in targets]
        scale = Normalize(min(map(np.min, maps)), max(map(np.max, maps)))
        for axis, target, cosines in zip(row[1:], targets, maps, strict=False):
            _heat(axis, data, target, cosines, scale)
            _marks(axis, data.radiographs[target].landmarks[name], data.positions[cosines.argmax()], cosines)
            axis.set_title(
                f"{_short(data.radiographs[target].name)}\nerror {data.errors(query, target, [name])[0]:.0f} px"
            )
        for axis in row[1 + len(targets) :]:
            axis.set_visible(False)
        bar = figure.colorbar(ScalarMappable(scale, "inferno"), ax=list(row), shrink=0.85, pad=0.01)
        bar.set_label("cosine")
        bar.outline.set_visible(False)
    handles, labels = axes[0][1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, labelcolor=INK)
    return figure


def _show(axis: Axes, data: Correspondences, radiograph: int) -> None:
    axis.imshow(
        data.radiographs[radiograph].image,
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(0, data.size, data.size, 0),
    )
    _frame(axis, (0, data.size), data.size)


def _heat(axis: Axes, data: Correspondences, radiograph: int, cosines: np.ndarray, scale: Normalize) -> None:
    _show(axis, data, radiograph)
    cells = round(len(cosines) ** 0.5)
    reach = cells * data.settings.step  # the last position may reach over the border of the radiograph
    grid = cosines.reshape(cells, cells)
    extent = (0, reach, reach, 0)
    axis.imshow(grid, cmap="inferno", norm=scale, alpha=0.55, extent=extent, interpolation="bilinear")
    _frame(axis, (0, data.size), data.size)


def _marks(axis: Axes, true: tuple[float, float], there: np.ndarray, cosines: np.ndarray) -> None:
    axis.plot(true[1], true[0], "o", ms=11, mfc="none", mec="#4de3ff", mew=2, ls="", label="true position")
    axis.plot(
        there[1], there[0], "X", ms=8, color="#4de3ff", mec="black", mew=0.8, ls="", label="most similar position"
    )


def _frame(axis: Axes, width: tuple[float, float], height: int) -> None:
    axis.set(xlim=width, ylim=(height, 0), xticks=[], yticks=[], aspect="equal")
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _short(name: str) -> str:
    name = name.rpartition("/")[2]
    return name if len(name) <= 24 else f"{name[:10]}\u2026{name[-12:]}"


def _is_error(row: Measured) -> bool:
    return not row.better


def measures(data: Correspondences) -> Figure:
    """The model, random weights and chance, a line a measure; distances below in their own unit."""
    rows = [row for row in data.result.measured if row.class_name == MEAN]
    shares = list(dict.fromkeys(row.name for row in rows if row.better))
    errors = list(dict.fromkeys(row.name for row in rows if not row.better))
    heights = [len(shares), max(1, len(errors))] if errors else [len(shares)]
    figure, axes = plt.subplots(
        len(heights),
        1,
        figsize=(8.5, 1.7 + 0.4 * sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axis, names in zip(axes[:, 0], (shares, errors), strict=False):
        _dumbbells(axis, data, names)
    axes[0, 0].set_xlim(left=min(-0.02, *(row.value - 0.05 for row in rows if row.better)), right=1.03)
    axes[0, 0].set_xlabel("cosine, or share of hits")
    if errors:
        axes[1, 0].set_xlim(left=0)
        axes[1, 0].set_xlabel(f"pixels of {data.size}: less is better")
    handles = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4)
    return figure


def _dumbbells(axis: Axes, data: Correspondences, names: Sequence[str]) -> None:
    bare = {(row.name, row.against): row.gain for row in data.bare if row.class_name == MEAN}
    for height, name in enumerate(names):
        of_measure = [row for row in data.result.measured if (row.name, row.class_name) == (name, MEAN)]
        value, chance = of_measure[0].value, of_measure[0].baseline
        axis.plot([chance, value], [height, height], color=GRID, lw=5, solid_capstyle="round", zorder=1)
        axis.plot(chance, height, "|", ms=17, mew=2.2, color=INK, ls="", label="chance", zorder=3)
        for row in of_measure[1:]:
            axis.plot(
                row.baseline,
                height,
                "|",
                ms=17,
                mew=2.2,
                color="#c65d21",
                ls="",
                label="nearest position, mean position",
                zorder=3,
            )
        if (name, of_measure[0].against) in bare:
            random = chance + bare[name, of_measure[0].against]  # the same gain over this baseline
            look: dict[str, Any] = {"mfc": "white", "mec": QUIET, "mew": 1.5}
            axis.plot(random, height + 0.22, "D", ms=6, ls="", label="random weights", zorder=4, **look)
        axis.plot(value, height, "o", ms=9, color=TEACHER, ls="", label=data.who, zorder=5)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", labelcolor=INK, length=0)
