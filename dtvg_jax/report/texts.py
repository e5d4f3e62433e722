"""The report as text: results.md, and the table on the terminal."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from dtvg_jax.report.tables import BASELINE, last_stage

Json = dict[str, Any]
Cells = tuple[list[str], list[list[str]]]

COLUMNS = """\
- **metric**: the task's first metric; the others are in `results.json`.
- **mean**, **sd**: mean and sample standard deviation over seeds of the test score of \
the step that validated best; one seed has no sd.
- **seeds**: number of prompts in the mean; failed ones are left out.
- **test examples**: examples that each prompt was tested on.
- **majority**: the score of giving the one most frequent answer to every example.
- **best single source**: the source whose own prompt, used on the target without any \
training on it, has the highest validation score (mean over seeds), and its test score.
- **mean of targets**: mean over targets of the column "mean".
- **difference**, **95 % interval**: mean over pairs (same target, same seed) of the \
method's score minus that of prompt tuning, with the paired t interval (n - 1 degrees \
of freedom). Pairs of one target or one seed are not quite independent, so the \
interval is a measure of noise, not a proof."""

PLOTS = {
    "losses": "training loss of every prompt",
    "groups": "which sources were in the group at each step",
    "consistency": "target similarity and knowledge consistency over the steps",
    "similarity": "cosine of the mean rows of the task prompt vectors after stage 1",
}


def markdown(results: Json, name: str, plots: Sequence[str]) -> str:
    """Writes results.md of a job called `name`, whose plots are files in plots/."""
    parts = [f"# Results of {name}", _what_was_run(results["job"])]
    if results["comparisons"]:
        parts += ["## Methods", _pipes(method_cells(results))]
        parts += [verdict(entry) for entry in results["comparisons"]]
    for title, cells in (
        ("## Targets", target_cells(results)),
        ("## Sources", source_cells(results)),
    ):
        if cells[1]:
            parts += [title, _pipes(cells)]
    parts += ["## Failed lanes", _failures(results["failed"])]
    if results["groups"]:
        parts += [
            "## Groups",
            "Share of the logged steps, in %, at which the source was in the target's "
            "group; mean over seeds.",
            _pipes(group_cells(results["groups"])),
        ]
    parts += ["## What the columns are", COLUMNS, "## Files", _files(plots)]
    return "\n\n".join(part for part in parts if part) + "\n"


def print_table(
    results: Json, job_dir: str | os.PathLike[str], console: Console | None = None
) -> None:
    """Prints the scores and where everything lies; plain columns when redirected."""
    if console is None:
        console = Console(highlight=False)
    for title, cells in (
        ("Sources", source_cells(results)),
        ("Targets", target_cells(results)),
        ("Methods, all targets", method_cells(results)),
    ):
        if cells[1]:
            _print_cells(console, title, cells)
    lines = [verdict(entry) for entry in results["comparisons"]]
    if results["failed"]:
        lines += ["Failed lanes:", _failures(results["failed"])]
    folder = pathlib.Path(job_dir)
    lines += [
        f"Report:      {folder / 'results.md'}",
        f"Numbers:     {folder / 'results.json'}",
        f"Plots:       {folder / 'plots'}",
        f"Predictions: {folder / 'predictions'}",
        f"Prompts:     {folder / 'store'}",
    ]
    for line in filter(None, lines):
        console.print(line, markup=False, soft_wrap=True)


def target_cells(results: Json) -> Cells:
    """Lays out the scores of targets, one line per target and method."""
    header = ["target", "method", "metric", "mean", "sd", "seeds", "test examples"]
    header += ["majority", "best single source"]
    last = last_stage(results["table"])
    rows = []
    for entry in results["table"]:
        if entry["role"] != "target":
            continue
        method = entry["method"]
        if entry["stage"] != last:
            method = f"{method} (stage {entry['stage']})"
        best = entry["best_source"]
        single = f"{best['source']} {number(best['score'])}" if best else "-"
        rows.append([entry["task"], method, *_scores(entry), single])
    return header, rows


def source_cells(results: Json) -> Cells:
    """Lays out the scores of sources."""
    header = ["source", "metric", "mean", "sd", "seeds", "test examples", "majority"]
    return header, [
        [entry["task"], *_scores(entry)]
        for entry in results["table"]
        if entry["role"] == "source"
    ]


def method_cells(results: Json) -> Cells:
    """Lays out the comparison with prompt tuning, one line per method."""
    header = ["method", "mean of targets", "targets"]
    header += ["difference", "95 % interval", "pairs"]
    rows = []
    for entry in results["comparisons"]:
        low = entry.get("low")
        interval = f"{low:+.2f} to {entry['high']:+.2f}" if low is not None else "-"
        difference = entry.get("difference")
        rows.append(
            [
                entry["method"],
                number(entry["mean"]),
                str(entry["tasks"]),
                "-" if difference is None else f"{difference:+.2f}",
                interval,
                str(entry.get("pairs", "-")),
            ]
        )
    return header, rows


def group_cells(groups: Sequence[Json]) -> Cells:
    """Lays out how often each source was in the group of each target."""
    sources = list(dict.fromkeys(name for one in groups for name in one["sources"]))
    rows = []
    for one in groups:
        share = dict(zip(one["sources"], one["share"], strict=True))
        shown = [f"{100 * share[s]:.0f}" if s in share else "-" for s in sources]
        rows.append([one["task"], one["method"], *shown])
    return ["target", "method", *sources], rows


def verdict(comparison: Json) -> str:
    """Says in a sentence what a comparison with prompt tuning allows to say."""
    method, pairs = comparison["method"], comparison.get("pairs")
    if method == BASELINE:
        return ""
    if not pairs:
        return f"{method} and {BASELINE} have no target and seed in common."
    difference = comparison["difference"]
    if comparison["low"] is None:
        return (
            f"{method} differs from {BASELINE} by {difference:+.2f} on its only pair "
            "of target and seed: too few to tell it from noise."
        )
    if comparison["within_noise"]:
        return (
            f"{method} differs from {BASELINE} by {difference:+.2f} on average, which "
            "is within the noise: the 95 % interval holds 0."
        )
    way = "better" if difference > 0 else "worse"
    return (
        f"{method} is {way} than {BASELINE} by {abs(difference):.2f} on average; the "
        "95 % interval does not hold 0."
    )


def number(value: float | int | None) -> str:
    """Writes a score with two decimals, or a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def _scores(entry: Json) -> list[str]:
    examples = entry["examples"]
    return [
        entry["metric"],
        number(entry["mean"]),
        number(entry["sd"]),
        str(len(entry["seeds"])),
        "-" if examples is None else str(examples),
        number(entry["majority"]),
    ]


def _what_was_run(job: Json) -> str:
    seconds = ", ".join(
        f"{name} {value:.0f} s" for name, value in job.get("seconds", {}).items()
    )
    lines = [
        f"- backbone: {job['backbone']} ({job['backbone_digest'][:12]}), "
        f"prompts of {job['prompt_length']} rows",
        f"- seeds: {', '.join(map(str, job['seeds']))}",
        f"- sources: {', '.join(job['sources']) or 'none'}",
        f"- targets: {', '.join(job['targets']) or 'none'}",
        f"- methods: {', '.join(job['methods'])}",
    ]
    return "\n".join(lines + ([f"- time: {seconds}"] if seconds else []))


def _failures(failed: Sequence[Json]) -> str:
    if not failed:
        return "None."
    return "\n".join(
        f"- {one['task']}, {one['method']}, seed {one['seed']}, stage {one['stage']}: "
        f"{one['reason']}"
        for one in failed
    )


def _files(plots: Sequence[str]) -> str:
    lines = [
        "- `results.json`: every number above, per seed",
        "- `predictions/`: the answers that the scores were counted from",
        "- `store/`: the learned prompts",
        "- `metrics.jsonl`, `tensorboard/`: what was logged on the way",
    ]
    for plot in plots:
        kind, _, method = pathlib.Path(plot).stem.partition("-")
        text = PLOTS[kind] + (f", {method}" if method else "")
        lines.append(f"- `plots/{plot}`: {text}")
    return "\n".join(lines)


def _pipes(cells: Cells) -> str:
    header, rows = cells
    rule = [
        "---:" if _is_number(column) else "---" for column in zip(*rows, strict=True)
    ]
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _print_cells(console: Console, title: str, cells: Cells) -> None:
    header, rows = cells
    right = [_is_number(column) for column in zip(*rows, strict=True)]
    if console.is_terminal:
        table = Table(title=title, title_justify="left")
        for name, is_right in zip(header, right, strict=True):
            table.add_column(name, justify="right" if is_right else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    console.print(title, markup=False)
    for line in (header, *rows):
        padded = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        )
        console.print("  ".join(padded).rstrip(), markup=False, soft_wrap=True)
    console.print()


def _is_number(column: Sequence[str]) -> bool:
    return all(cell == "-" or cell.lstrip("+-")[:1].isdigit() for cell in column)
