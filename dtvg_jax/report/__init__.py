"""Tables and plots of a job, made from results.json and metrics.jsonl alone."""

import dataclasses
import json
import os
from collections.abc import Sequence

from dtvg_jax import files
from dtvg_jax.errors import InputError, unknown
from dtvg_jax.report import figures, markdown
from dtvg_jax.report.records import FORMAT, Report, Results
from dtvg_jax.report.summary import BASELINE, summarise
from dtvg_jax.report.terminal import print_table
from dtvg_jax.training import hosts, metrics_log
from dtvg_jax.training.metrics_log import LogRecord

__all__ = ["Report", "print_table", "read", "save", "to_json", "write"]

FILE = "results.json"


def write(job_dir: str | os.PathLike[str], baseline: str | None = None) -> Report:
    """Writes results.md and plots/ of a job folder, and returns the report.

    The methods of stage 2 are compared with `baseline`, by default prompt tuning. The
    numbers of the tables are added to results.json (`table`, `comparisons`, `groups`,
    `failed`). Files are replaced whole. Raises InputError if results.json is missing,
    if it or the log is not what the job wrote, or if the job has no such method.
    """
    folder = files.expand(job_dir)
    results = read(folder / FILE)
    if results.log_digest != metrics_log.digest(folder):
        raise InputError(
            f"{folder / metrics_log.FILE} is not the log that {FILE} was made with: "
            "restore it"
        )
    if baseline is not None and baseline not in results.job.methods:
        raise unknown("method of this job", baseline, results.job.methods)
    records = _shown(results, metrics_log.read(folder / metrics_log.FILE))
    summary = summarise(results, records, baseline or BASELINE)
    plots = figures.draw(results, records, folder / "plots")
    made = Report(folder.resolve().name, results, summary, plots)
    _write(folder, made)
    return made


@hosts.written_once
def _write(folder: files.Path, made: Report) -> None:
    files.write_json(folder / FILE, files.seal(to_json(made)))
    files.write_bytes(folder / "results.md", markdown.render(made).encode())


def _shown(results: Results, records: Sequence[LogRecord]) -> list[LogRecord]:
    """Leaves out the trials of a search that were not chosen."""
    chosen = {row.run for row in results.rows}
    return [one for one in records if one.trial is None or one.run in chosen]


@hosts.written_once
def save(folder: files.Path, results: Results) -> None:
    """Writes results.json before there are tables."""
    files.write_json(folder / FILE, files.seal(dataclasses.asdict(results)))


def read(path: files.Path) -> Results:
    """Reads what a job measured, without the tables, which are computed again."""
    content = files.read_json(
        path, "a job writes it at its end; give the folder of a finished job"
    )
    found = content.get("format")
    if found != FORMAT:
        raise InputError(
            f"{path} has format {found!r}, this version reads format {FORMAT}: use the "
            "version that ran the job"
        )
    content = files.unseal(content, path, "run the command of the job again")
    return files.record(Results, content, str(path))


def to_json(report: Report) -> files.JsonObject:
    """Gives the content of results.json without its digest: measurements and tables."""
    content = dataclasses.asdict(report.results) | dataclasses.asdict(report.summary)
    # Through JSON, so that tuples become lists as in the file.
    return json.loads(files.json_bytes(content))
