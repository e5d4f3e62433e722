"""The plots of a job: losses, groups, consistency, similarity of task prompt vectors.

Figures are made without pyplot, so nothing of matplotlib's global state changes.
Colours are Okabe and Ito's, which also colour-blind readers tell apart.
"""

import math
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

Json = dict[str, Any]
Curve = tuple[np.ndarray, np.ndarray]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TITLE, TEXT, SMALL = 10, 8, 7
PANEL = (2.3, 1.7)  # inches of a small multiple
BAND = 0.17  # inches of a source's row in the timeline of groups


def draw(results: Json, records: Sequence[Json], folder: pathlib.Path) -> list[str]:
    """Draws every plot that the job has numbers for; returns the names of the files.

    Methods that group have a file each: groups.png is DTVG's, or that of the only one;
    others carry the method in their name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job, drawn = results["job"], {}
    train = [record for record in records if record["kind"] == "train"]
    if train:
        drawn["losses.png"] = losses(job, train)
    grouped = [record for record in train if record.get("group") is not None]
    methods = sorted({record["method"] for record in grouped})
    first = "dtvg" if "dtvg" in methods else (methods or [""])[0]
    for method in methods:
        ours = [record for record in grouped if record["method"] == method]
        end = ".png" if method == first else f"-{method}.png"
        drawn["groups" + end] = groups(job, ours, method)
        drawn["consistency" + end] = consistency(job, ours, method)
    if results.get("similarity"):
        drawn["similarity.png"] = similarity(job, results["similarity"])
    for name, figure in drawn.items():
        _save(figure, folder / name)
    return list(drawn)


def losses(job: Json, records: Sequence[Json]) -> Figure:
    """Draws the loss of each task, a block per stage; thin lines are single seeds."""
    stages = _distinct(record["program"].partition("-")[0] for record in records)
    tasks = [_tasks(job, (r for r in records if _in(r, stage))) for stage in stages]
    columns = min(6, max(map(len, tasks)))
    lines = [math.ceil(len(names) / columns) for names in tasks]
    heights = [0.75 + PANEL[1] * count for count in lines]
    figure = _figure(max(PANEL[0] * columns, 5), sum(heights))
    blocks = figure.subfigures(len(stages), 1, squeeze=False, height_ratios=heights)[
        :, 0
    ]
    colours = _colours(job, records)
    for block, stage, names, count in zip(blocks, stages, tasks, lines, strict=True):
        ours = [record for record in records if _in(record, stage)]
        methods = [m for m in colours if any(r["method"] == m for r in ours)]
        grid = block.subplots(count, columns, squeeze=False).flat
        for axes, task in zip(grid, names, strict=False):
            for method in methods:
                mine = [r for r in ours if (r["task"], r["method"]) == (task, method)]
                _seeds_and_mean(axes, mine, "loss", colours[method])
            _dress(axes, task)
            axes.set_ylim(bottom=0)
        _hide(block.axes[len(names) :])
        title = f"{_stage_title(stage)}: training loss over steps"
        block.suptitle(title, fontsize=TITLE, fontweight="bold")
        _legend(block, {method: colours[method] for method in methods})
    return figure


def groups(job: Json, records: Sequence[Json], method: str) -> Figure:
    """Draws who was in each target's group: in one seed, and as mean over seeds."""
    targets = _tasks(job, records)
    seeds = _distinct(sorted(record["seed"] for record in records))
    columns = {f"seed {seeds[0]}": seeds[:1]}
    if len(seeds) > 1:
        columns[f"mean over {len(seeds)} seeds"] = seeds
    sources = {record["task"]: record["sources"] for record in records}
    heights = [0.42 + BAND * max(len(sources[target]), 2) for target in targets]
    figure = _figure(1.5 + 3.6 * len(columns), sum(heights) + 1.3)
    ratios = {"height_ratios": heights}
    grid = figure.subplots(
        len(targets), len(columns), squeeze=False, gridspec_kw=ratios
    )
    image: Any = None
    for line, target in zip(grid, targets, strict=True):
        for axes, shown in zip(line, columns.values(), strict=True):
            mine = [r for r in records if r["task"] == target and r["seed"] in shown]
            image = _timeline(axes, mine, sources[target]) if mine else image
            axes.set_yticklabels(sources[target] if axes is line[0] else [])
        line[0].set_ylabel(target, fontsize=TEXT, fontweight="bold")
    for i, title in enumerate(columns):
        grid[0][i].set_title(title, fontsize=TEXT)
        grid[-1][i].set_xlabel("step", fontsize=TEXT)
    figure.suptitle(f"Sources in the group, {method}", fontsize=TITLE)
    bar = figure.colorbar(image, ax=grid, location="bottom", shrink=0.4, aspect=30)
    bar.set_label("share of seeds", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def consistency(job: Json, records: Sequence[Json], method: str) -> Figure:
    """Draws target similarity and knowledge consistency of each target's group."""
    targets = _tasks(job, records)
    columns = min(3, len(targets))
    lines = math.ceil(len(targets) / columns)
    figure = _figure(max(3.1 * columns, 5), 0.9 + 2.0 * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    curves = {
        "target similarity (TS)": ("target_similarity", COLOURS[0]),
        "knowledge consistency (KC)": ("knowledge_consistency", COLOURS[1]),
    }
    for axes, target in zip(grid.flat, targets, strict=False):
        mine = [record for record in records if record["task"] == target]
        for name, colour in curves.values():
            _seeds_and_mean(axes, mine, name, colour)
        axes.axhline(0, color="0.6", linewidth=0.6, zorder=0)
        _dress(axes, target)
    _hide(grid.flat[len(targets) :])
    figure.supylabel("inner product of mean rows", fontsize=TEXT)
    figure.suptitle(f"TS and KC of the group over steps, {method}", fontsize=TITLE)
    _legend(figure, {label: colour for label, (_, colour) in curves.items()})
    return figure


def similarity(job: Json, measured: dict[str, Json]) -> Figure:
    """Draws the cosines of the vectors' mean rows, sources first; mean over seeds."""
    known = next(iter(measured.values()))["tasks"]
    order = [t for t in _distinct([*job["sources"], *job["targets"]]) if t in known]
    order += [task for task in known if task not in order]
    matrices = []
    for one in measured.values():
        where = [one["tasks"].index(task) for task in order]
        matrices.append(np.asarray(one["matrix"], float)[np.ix_(where, where)])
    count = len(order)
    side = (0.36 if count > 14 else 0.5) * count
    figure = _figure(max(side + 2.4, 4.8), side + 1.7)
    axes = figure.subplots()
    image = _heat_map(axes, np.mean(matrices, axis=0), order)
    edge = sum(task in job["sources"] for task in order) - 0.5
    if -0.5 < edge < count - 0.5:
        axes.axhline(edge, color="black", linewidth=1)
        axes.axvline(edge, color="black", linewidth=1)
    seeds = f"mean over {len(measured)} seeds" if len(measured) > 1 else "one seed"
    figure.suptitle(
        f"Cosine of task prompt vectors (mean rows) after stage 1\n{seeds}",
        fontsize=TITLE,
    )
    bar = figure.colorbar(image, ax=axes, shrink=0.7)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def _heat_map(axes: Axes, values: np.ndarray, names: Sequence[str]) -> Any:
    """Fills a square; the diagonal, always 1, is left grey so that it sets no scale."""
    count = len(names)
    apart = np.where(np.eye(count, dtype=bool), np.nan, values)
    limit = max(0.1, float(np.nanmax(np.abs(apart)))) if count > 1 else 1.0
    axes.set_facecolor("0.9")
    image = axes.imshow(apart, cmap="PuOr_r", vmin=-limit, vmax=limit)
    for i, j in np.ndindex(count, count):
        if i != j and np.isfinite(values[i, j]):
            dark = abs(values[i, j]) > 0.65 * limit
            # Adding 0.0 turns -0.0 into 0.0; the leading zero is left out to save room.
            text = f"{round(float(values[i, j]), 2) + 0.0:.2f}".replace("0.", ".", 1)
            colour = "white" if dark else "black"
            axes.text(j, i, text, ha="center", va="center", size=SMALL, color=colour)
    axes.set_xticks(range(count), names, rotation=90, fontsize=TEXT)
    axes.set_yticks(range(count), names, fontsize=TEXT)
    axes.tick_params(length=0)
    return image


def _figure(width: float | int, height: float | int) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: pathlib.Path) -> None:
    # A renamed file, so that no viewer sees half a picture; no date inside, so that the
    # same numbers give the same bytes.
    beside = path.with_name(f".{path.name}.part")
    figure.savefig(beside, format="png", dpi=120, metadata={"Software": None})
    beside.replace(path)


def _timeline(axes: Axes, records: Sequence[Json], sources: Sequence[str]) -> Any:
    steps = sorted({record["step"] for record in records})
    column = {step: i for i, step in enumerate(steps)}
    inside, seen = np.zeros((len(sources), len(steps))), np.zeros(len(steps))
    for record in records:
        inside[:, column[record["step"]]] += record["group"]
        seen[column[record["step"]]] += 1
    # A column lasts from its step to the next logged one.
    gap = steps[-1] - steps[-2] if len(steps) > 1 else 1
    edges = np.array([*steps, steps[-1] + gap])
    image = axes.pcolormesh(
        edges, np.arange(len(sources) + 1), inside / seen, cmap="Blues", vmin=0, vmax=1
    )
    axes.set_yticks(np.arange(len(sources)) + 0.5)
    axes.set_ylim(len(sources), 0)
    for line in range(1, len(sources)):
        axes.axhline(line, color="white", linewidth=1)
    axes.tick_params(labelsize=SMALL, length=2)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return image


def _seeds_and_mean(
    axes: Axes, records: Sequence[Json], name: str, colour: str
) -> None:
    """Draws a thin line per seed and their mean, over the steps that all have."""
    curves = [
        _curve([record for record in records if record["seed"] == seed], name)
        for seed in _distinct(record["seed"] for record in records)
    ]
    curves = [curve for curve in curves if len(curve[0])]
    if not curves:
        return
    if len(curves) > 1:
        for steps, values in curves:
            axes.plot(steps, values, color=colour, linewidth=0.5, alpha=0.35)
    common = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in curves)))
    at = [values[np.isin(steps, common)] for steps, values in curves]
    axes.plot(common, np.mean(at, axis=0), color=colour, linewidth=1.4)


def _curve(records: Iterable[Json], name: str) -> Curve:
    points = {
        record["step"]: record[name]
        for record in records
        if record.get(name) is not None
    }
    steps = sorted(points)
    return np.array(steps), np.array([points[step] for step in steps])


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=TEXT, pad=3)
    axes.tick_params(labelsize=SMALL, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _hide(panels: Iterable[Axes]) -> None:
    for axes in panels:
        axes.set_visible(False)


def _legend(figure: Any, colours: dict[str, str]) -> None:
    handles = [
        Line2D([], [], color=colour, linewidth=1.6) for colour in colours.values()
    ]
    figure.legend(
        handles, list(colours), loc="outside lower center", fontsize=SMALL,
        ncols=min(len(colours), 5), frameon=False,
    )  # fmt: skip


def _colours(job: Json, records: Sequence[Json]) -> dict[str, str]:
    methods = _distinct([*job["methods"], *(record["method"] for record in records)])
    return {m: COLOURS[i % len(COLOURS)] for i, m in enumerate(methods)}


def _stage_title(stage: str) -> str:
    names = {
        "stage1": "Stage 1, task prompts",
        "stage2": "Stage 2, targets",
    }
    return names.get(stage, stage)


def _in(record: Json, stage: str) -> bool:
    return record["program"].partition("-")[0] == stage


def _tasks(job: Json, records: Iterable[Json]) -> list[str]:
    present = _distinct(record["task"] for record in records)
    known = _distinct([*job["sources"], *job["targets"]])
    return [t for t in known if t in present] + [t for t in present if t not in known]


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
