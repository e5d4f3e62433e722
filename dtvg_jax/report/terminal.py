"""The scores of a job on the terminal."""

import os

from rich.console import Console
from rich.table import Table as Grid

from dtvg_jax import files
from dtvg_jax.report.markdown import failed_lanes, problem_lines
from dtvg_jax.report.records import Report
from dtvg_jax.report.tables import (
    Table,
    method_table,
    mixture_table,
    numeric_columns,
    search_table,
    source_table,
    target_table,
)
from dtvg_jax.report.verdicts import compared


def print_table(
    report: Report, job_dir: str | os.PathLike[str], console: Console | None = None
) -> None:
    """Prints the scores and where all files are; plain columns when redirected."""
    if console is None:
        console = Console(highlight=False)
    for title, table in (
        ("Sources", source_table(report)),
        ("Mixture, validation", mixture_table(report)),
        ("Search, validation; * chosen", search_table(report.summary.settings)),
        ("Targets", target_table(report)),
        ("Methods, all targets", method_table(report)),
    ):
        if table.rows:
            _print(console, title, table)
    lines = [compared(one) for one in report.summary.comparisons]
    if report.summary.failed:
        lines += ["Failed lanes:", failed_lanes(report.summary.failed)]
    if report.summary.problems:
        lines += ["Problems:", problem_lines(report.summary.problems)]
    folder = files.expand(job_dir)
    lines += [
        f"Report:      {folder / 'results.md'}",
        f"Numbers:     {folder / 'results.json'}",
        f"Plots:       {folder / 'plots'}",
        f"Predictions: {folder / 'predictions'}",
        f"Prompts:     {folder / 'store'}",
    ]
    for line in filter(None, lines):
        console.print(line, markup=False, soft_wrap=True)


def _print(console: Console, title: str, table: Table) -> None:
    numeric = numeric_columns(table)
    # In a file or a pipe, plain columns can be searched and cut by other tools.
    if console.is_terminal:
        grid = Grid(title=title, title_justify="left")
        for name, right in zip(table.columns, numeric, strict=True):
            grid.add_column(name, justify="right" if right else "left")
        for row in table.rows:
            grid.add_row(*row)
        console.print(grid)
        return
    lines = [list(table.columns), *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    console.print(title, markup=False)
    for line in lines:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        console.print("  ".join(padded).rstrip(), markup=False, soft_wrap=True)
    console.print()
