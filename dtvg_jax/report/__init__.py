"""Tables and plots of a job, made from results.json and metrics.jsonl alone."""

import json
import os
import pathlib
from typing import Any

from dtvg_jax import metrics_log
from dtvg_jax.errors import InputError
from dtvg_jax.report import figures
from dtvg_jax.report.tables import summary
from dtvg_jax.report.texts import markdown, print_table

__all__ = ["print_table", "write"]


def write(job_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Makes results.md and plots/ of a job folder; returns its results.

    The numbers of the tables are put into results.json (`table`, `comparisons`,
    `groups`, `failed`). Files are replaced whole. Raises InputError without a
    results.json.
    """
    folder = pathlib.Path(job_dir)
    path = folder / "results.json"
    results = _read(path)
    records = metrics_log.read(folder / metrics_log.FILE)
    results |= summary(results, records)
    plots = figures.draw(results, records, folder / "plots")
    _replace(path, json.dumps(results, indent=1) + "\n")
    name = folder.resolve().name
    _replace(folder / "results.md", markdown(results, name, plots))
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


def _replace(path: pathlib.Path, text: str) -> None:
    """Writes beside `path` and renames, so that no reader ever sees half a file."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
