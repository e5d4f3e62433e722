"""The report as text: results.md, and the table on the terminal."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from dtvg_jax.report import glossary
from dtvg_jax.report.summary import BASELINE, last_stage

Json = dict[str, Any]
Cells = tuple[list[str], list[list[str]]]


def markdown(results: Json, name: str, plots: Sequence[str]) -> str:
    """Writes results.md of a job called `name`, whose plots are files in plots/."""
    told: set[str] = set()
    parts = [f"# Results of {name}", _what_was_run(results["job"])]
    parts += ["## Terms", glossary.TERMS]
    if results["comparisons"]:
        parts += ["## Methods", _methods(results["comparisons"])]
        parts += _table(method_cells(results), told)
        for entry in results["comparisons"]:
            parts.append(" ".join(filter(None, (verdict(entry), by_target(entry)))))
    for title, cells in (
        ("## Targets", target_cells(results)),
        ("## Sources", source_cells(results)),
    ):
        if cells[1]:
            parts += [title, *_table(cells, told)]
    if results["groups"]:
        parts += ["## Groups", *_groups(results["groups"], told)]
    parts += ["## Failed lanes", _failures(results["failed"])]
    parts += ["## Files", _files(plots)]
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
    header += ["majority", "best single source", "difference"]
    last = last_stage(results["table"])
    by_task = {x["method"]: x.get("by_task", {}) for x in results["comparisons"]}
    rows = []
    for entry in results["table"]:
        if entry["role"] != "target":
            continue
        method, found = entry["method"], None
        if entry["stage"] == last:
            found = by_task[method].get(entry["task"])
        else:
            method = f"{method} (stage {entry['stage']})"
        best = entry["best_source"]
        single = f"{best['source']} {number(best['score'])}" if best else "-"
        difference = f"{found['difference']:+.2f} {_call(found)}" if found else "-"
        rows.append([entry["task"], method, *_scores(entry), single, difference])
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


def useful_cells(groups: Sequence[Json]) -> Cells:
    """Lays out the chosen sources beside the useful ones, where these are known."""
    header = ["target", "method", "useful", "chosen", "precision", "by chance"]
    header.append("recall")
    rows = []
    for one in groups:
        if "useful" not in one:
            continue
        share = zip(one["sources"], one["share"], strict=True)
        chosen = [source for source, value in share if value >= 0.5]
        named = [", ".join(names) or "none" for names in (one["useful"], chosen)]
        figures = (one["precision"], one["chance"], one["recall"])
        shown = ["-" if x is None else f"{100 * x:.0f}" for x in figures]
        rows.append([one["task"], one["method"], *named, *shown])
    return header, rows


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
    return (
        f"{method} is {_call(comparison)} than {BASELINE} by {abs(difference):.2f} on "
        "average; the 95 % interval does not hold 0."
    )


def by_target(comparison: Json) -> str:
    """Says on which targets alone a method differs from prompt tuning."""
    found = comparison.get("by_task", {})
    if len(found) < 2:
        return ""
    parts = []
    for called, said in (
        ("better", "better on"),
        ("worse", "worse on"),
        ("noise", "within the noise on"),
    ):
        tasks = [task for task, one in found.items() if _call(one) == called]
        if tasks:
            parts.append(f"{said} {', '.join(tasks)}")
    return f"By target: {'; '.join(parts)}."


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


def _call(found: Json) -> str:
    if found["within_noise"]:
        return "noise"
    return "better" if found["difference"] > 0 else "worse"


def _methods(comparisons: Sequence[Json]) -> str:
    """Says in a line each what the methods of the job do."""
    names = [entry["method"] for entry in comparisons]
    lines = [
        f"- **{x}**: {glossary.METHODS[x]}." for x in names if x in glossary.METHODS
    ]
    return "\n".join(lines)


def _groups(groups: Sequence[Json], told: set[str]) -> list[str]:
    parts = []
    useful = useful_cells(groups)
    if useful[1]:
        parts += _table(useful, told)
        parts.append(
            "A source that shares no skill can still help, by the digits of its "
            "answers; that is not counted as useful."
        )
    parts.append(
        "Share of the logged steps, in %, at which the source was in the target's "
        "group; mean over seeds; - where the source is the target itself."
    )
    return [*parts, _pipes(group_cells(groups))]


def _table(cells: Cells, told: set[str]) -> list[str]:
    """Writes a table, then a line for each of its columns that is new to `told`."""
    new = [column for column in cells[0] if column not in told]
    told.update(new)
    lines = [f"- **{column}**: {glossary.COLUMNS[column]}" for column in new]
    return [_pipes(cells), "\n".join(lines)]


def _files(plots: Sequence[str]) -> str:
    lines = [
        "- `results.json`: every number above, per seed",
        "- `predictions/`: the answers that the scores were counted from",
        "- `store/`: the learned prompts",
        "- `metrics.jsonl`, `tensorboard/`: what was logged on the way",
    ]
    for plot in plots:
        kind, _, method = pathlib.Path(plot).stem.partition("-")
        text = glossary.PLOTS[kind] + (f", {method}" if method else "")
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
