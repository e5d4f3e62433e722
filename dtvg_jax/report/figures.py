"""The plots of a job: losses, groups, consistency, similarity of task prompt vectors.

Figures are made without pyplot, so nothing of matplotlib's global state changes.
Colours are Okabe and Ito's, which also colour-blind readers tell apart.
"""

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dtvg_jax import files
from dtvg_jax.report.records import JobFacts, Plot, Results, SimilarityMatrix
from dtvg_jax.report.summary import task_order
from dtvg_jax.training import hosts
from dtvg_jax.training.metrics_log import LogRecord, TrainRecord

Curve: TypeAlias = tuple[Int[np.ndarray, "steps"], Float[np.ndarray, "steps"]]
Values: TypeAlias = Callable[[TrainRecord], float | None]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TITLE, TEXT, SMALL = 10, 8, 7
PANEL = (2.3, 1.7)  # inches of a small multiple
BAND = 0.17  # inches of a source's row in the timeline of groups


class Drawn(NamedTuple):
    """A figure, and its line in the report."""

    plot: Plot
    figure: Figure


def draw(
    results: Results, records: Iterable[LogRecord], folder: files.Path
) -> list[Plot]:
    """Draws every plot that the job has numbers for; returns them in order."""
    job, drawn = results.job, []
    train = [record for record in records if isinstance(record, TrainRecord)]
    if train:
        plot = Plot("losses.png", "training loss of every prompt")
        drawn.append(Drawn(plot, losses(job, train)))
    drawn += _group_plots(job, [record for record in train if record.group is not None])
    if results.similarity:
        shows = "cosine of the mean rows of the task prompt vectors after stage 1"
        plot = Plot("similarity.png", shows)
        drawn.append(Drawn(plot, similarity(job, results.similarity)))
    for plot, figure in drawn:
        _save(figure, folder / plot.file)
    return [one.plot for one in drawn]


def _group_plots(job: JobFacts, records: Sequence[TrainRecord]) -> list[Drawn]:
    """Draws the two plots of each method that groups.

    groups.png and consistency.png are DTVG's, or those of the only method; the files of
    other methods carry the method in their name.
    """
    methods, drawn = sorted({record.run.shown_method for record in records}), []
    first = "dtvg" if "dtvg" in methods else (methods or [""])[0]
    for method in methods:
        ours = [record for record in records if record.run.shown_method == method]
        end, of = ("", "") if method == first else (f"-{method}", f", {method}")
        shows = f"which sources were in the group at each step{of}"
        plot = Plot(f"groups{end}.png", shows)
        drawn.append(Drawn(plot, groups(job, ours, method)))
        shows = f"target similarity and knowledge consistency over the steps{of}"
        plot = Plot(f"consistency{end}.png", shows)
        drawn.append(Drawn(plot, consistency(job, ours, method)))
    return drawn


def losses(job: JobFacts, records: Sequence[TrainRecord]) -> Figure:
    """Draws the loss of each task, a block per stage; thin lines are single seeds."""
    by_stage: dict[int, list[TrainRecord]] = {}
    for record in records:
        by_stage.setdefault(record.stage, []).append(record)
    tasks = {stage: _tasks(job, ours) for stage, ours in by_stage.items()}
    columns = min(6, max(map(len, tasks.values())))
    lines = {stage: math.ceil(len(names) / columns) for stage, names in tasks.items()}
    heights = [0.75 + PANEL[1] * count for count in lines.values()]
    figure = _figure(max(PANEL[0] * columns, 5), sum(heights))
    blocks = figure.subfigures(
        len(by_stage), 1, squeeze=False, height_ratios=heights
    )  # fmt: skip
    colours = _colours(job, records)
    for block, (stage, ours) in zip(blocks[:, 0], by_stage.items(), strict=True):
        present = {record.run.shown_method for record in ours}
        shown = {name: c for name, c in colours.items() if name in present}
        grid = block.subplots(lines[stage], columns, squeeze=False).flat
        for axes, task in zip(grid, tasks[stage], strict=False):
            for method, colour in shown.items():
                mine = [
                    r for r in ours if (r.task, r.run.shown_method) == (task, method)
                ]
                _seeds_and_mean(axes, mine, lambda record: record.loss, colour)
            _style(axes, task)
            # Losses are read as distances from 0.
            axes.set_ylim(bottom=0)
        _hide(block.axes[len(tasks[stage]) :])
        title = f"{_stage_title(stage)}: training loss by step"
        block.suptitle(title, fontsize=TITLE, fontweight="bold")
        _legend(block, shown)
    return figure


def groups(job: JobFacts, records: Sequence[TrainRecord], method: str) -> Figure:
    """Draws the sources in each target's group: for one seed, and mean over seeds."""
    targets = _tasks(job, records)
    seeds = sorted({record.seed for record in records})
    columns = {f"seed {seeds[0]}": seeds[:1]}
    if len(seeds) > 1:
        columns[f"mean over {len(seeds)} seeds"] = seeds
    sources = {record.task: record.sources or () for record in records}
    heights = [0.42 + BAND * max(len(sources[target]), 2) for target in targets]
    figure = _figure(1.5 + 3.6 * len(columns), sum(heights) + 1.3)
    grid = figure.subplots(
        len(targets), len(columns), squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    images = []
    for line, target in zip(grid, targets, strict=True):
        for axes, shown in zip(line, columns.values(), strict=True):
            mine = [r for r in records if r.task == target and r.seed in shown]
            if mine:
                images.append(_timeline(axes, mine, sources[target]))
            axes.set_yticklabels(sources[target] if axes is line[0] else [])
        line[0].set_ylabel(target, fontsize=TEXT, fontweight="bold")
    for i, title in enumerate(columns):
        grid[0][i].set_title(title, fontsize=TEXT)
        grid[-1][i].set_xlabel("step", fontsize=TEXT)
    figure.suptitle(f"Sources in each target's group, {method}", fontsize=TITLE)
    axes = list(grid.flat)
    # All images have the same scale, so any of them serves as the bar's.
    bar = figure.colorbar(images[-1], ax=axes, location="bottom", shrink=0.4, aspect=30)
    bar.set_label("share of seeds", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def consistency(job: JobFacts, records: Sequence[TrainRecord], method: str) -> Figure:
    """Draws target similarity and knowledge consistency of each target's group."""
    targets = _tasks(job, records)
    columns = min(3, len(targets))
    lines = math.ceil(len(targets) / columns)
    figure = _figure(max(3.1 * columns, 5), 0.9 + 2.0 * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    similar, consistent = COLOURS[:2]
    for axes, target in zip(grid.flat, targets, strict=False):
        mine = [record for record in records if record.task == target]
        _seeds_and_mean(axes, mine, lambda r: r.target_similarity, similar)
        _seeds_and_mean(axes, mine, lambda r: r.knowledge_consistency, consistent)
        axes.axhline(0, color="0.6", linewidth=0.6, zorder=0)
        _style(axes, target)
    _hide(grid.flat[len(targets) :])
    figure.supylabel("inner product of mean rows", fontsize=TEXT)
    title = f"Target similarity and knowledge consistency of the group, {method}"
    figure.suptitle(title, fontsize=TITLE)
    _legend(
        figure,
        {
            "target similarity (TS)": similar,
            "knowledge consistency (KC)": consistent,
        },
    )
    return figure


def similarity(job: JobFacts, measured: Mapping[str, SimilarityMatrix]) -> Figure:
    """Draws the cosines of the vectors' mean rows, sources first; mean over seeds."""
    known = next(iter(measured.values())).tasks
    order = [task for task in task_order(job) if task in known]
    order += [task for task in known if task not in order]
    matrices = []
    for one in measured.values():
        where = [one.tasks.index(task) for task in order]
        matrices.append(np.asarray(one.matrix, float)[np.ix_(where, where)])
    count = len(order)
    side = (0.36 if count > 14 else 0.5) * count
    figure = _figure(max(side + 2.4, 4.8), side + 1.7)
    axes = figure.subplots()
    image = _heat_map(axes, np.mean(matrices, axis=0), order)
    edge = sum(task in job.sources for task in order) - 0.5
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


def _heat_map(
    axes: Axes, values: Float[np.ndarray, "tasks tasks"], names: Sequence[str]
) -> ScalarMappable:
    """Draws a square heat map; the diagonal, always 1, is grey and sets no scale."""
    count = len(names)
    apart = np.where(np.eye(count, dtype=bool), np.nan, values)
    # Symmetric about 0, so that white is a cosine of 0; at least 0.1, so that noise
    # alone is not drawn in strong colours.
    limit = max(0.1, float(np.nanmax(np.abs(apart)))) if count > 1 else 1.0
    axes.set_facecolor("0.9")
    image = axes.imshow(apart, cmap="PuOr_r", vmin=-limit, vmax=limit)
    for i, j in np.ndindex(count, count):
        if i != j and np.isfinite(values[i, j]):
            dark = abs(values[i, j]) > 0.65 * limit
            # Adding 0.0 makes -0.0 0.0; the leading zero is left out to save space.
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


@hosts.written_once
def _save(figure: Figure, path: files.Path) -> None:
    # No date inside, so that the same numbers give the same bytes.
    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=120, metadata={"Software": None})
    files.write_bytes(path, made.getvalue())


def _timeline(
    axes: Axes, records: Sequence[TrainRecord], sources: Sequence[str]
) -> ScalarMappable:
    steps = sorted({record.step for record in records})
    column = {step: i for i, step in enumerate(steps)}
    inside, seen = np.zeros((len(sources), len(steps))), np.zeros(len(steps))
    for record in records:
        inside[:, column[record.step]] += np.asarray(record.group)
        seen[column[record.step]] += 1
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
    axes: Axes, records: Sequence[TrainRecord], values: Values, colour: str
) -> None:
    """Draws a thin line per seed, and their mean over the steps that all have."""
    curves = [
        _curve([record for record in records if record.seed == seed], values)
        for seed in dict.fromkeys(record.seed for record in records)
    ]
    curves = [curve for curve in curves if len(curve[0])]
    if not curves:
        return
    if len(curves) > 1:
        for steps, seen in curves:
            axes.plot(steps, seen, color=colour, linewidth=0.5, alpha=0.35)
    # A lane that ended early would move the mean where it is missing.
    common = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in curves)))
    at = [seen[np.isin(steps, common)] for steps, seen in curves]
    axes.plot(common, np.mean(at, axis=0), color=colour, linewidth=1.4)


def _curve(records: Iterable[TrainRecord], values: Values) -> Curve:
    points = {}
    for record in records:
        value = values(record)
        if value is not None:
            points[record.step] = value
    steps = sorted(points)
    return np.array(steps, int), np.array([points[step] for step in steps], float)


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=TEXT, pad=3)
    axes.tick_params(labelsize=SMALL, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _hide(panels: Iterable[Axes]) -> None:
    for axes in panels:
        axes.set_visible(False)


def _legend(figure: FigureBase, colours: Mapping[str, str]) -> None:
    handles = [
        Line2D([], [], color=colour, linewidth=1.6) for colour in colours.values()
    ]
    figure.legend(
        handles, list(colours), loc="outside lower center", fontsize=SMALL,
        ncols=min(len(colours), 5), frameon=False,
    )  # fmt: skip


def _colours(job: JobFacts, records: Iterable[TrainRecord]) -> dict[str, str]:
    logged = (record.run.shown_method for record in records)
    methods = dict.fromkeys([*job.methods, *logged])
    return {m: COLOURS[i % len(COLOURS)] for i, m in enumerate(methods)}


def _stage_title(stage: int) -> str:
    return "Stage 1, task prompts" if stage == 1 else f"Stage {stage}, targets"


def _tasks(job: JobFacts, records: Iterable[TrainRecord]) -> list[str]:
    """Lists the tasks of the records, in the order of the job."""
    present = list(dict.fromkeys(record.task for record in records))
    known = task_order(job)
    return [t for t in known if t in present] + [t for t in present if t not in known]
