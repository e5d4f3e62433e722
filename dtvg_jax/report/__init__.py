"""Tables and plots of a job, made from results.json and metrics.jsonl alone."""

import json
import os
import pathlib
from typing import Any

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.report import figures
from dtvg_jax.report.markdown import markdown, print_table
from dtvg_jax.report.summary import summary
from dtvg_jax.training import metrics_log

__all__ = ["print_table", "write"]


def write(job_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Makes results.md and plots/ of a job folder; returns its results.

    The numbers of the tables are put into results.json (`table`, `comparisons`,
    `groups`, `failed`). Files are replaced whole. Raises InputError without a
    results.json.
    """
    folder = files.expand(job_dir)
    path = folder / "results.json"
    results = _read(path)
    records = metrics_log.read(folder / metrics_log.FILE)
    results |= summary(results, records)
    plots = figures.draw(results, records, folder / "plots")
    files.write_json(path, results)
    name = folder.resolve().name
    files.write_bytes(folder / "results.md", markdown(results, name, plots).encode())
    return results


def _read(path: pathlib.Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            f"{path} does not exist: a job writes it at its end; give the folder of a "
            "finished job."
        )
    try:
        results = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}.") from None
    if results.get("format") != 1:
        raise InputError(
            f"{path} has format {results.get('format')!r}, this version reads format 1."
        )
    return results
