"""A finished job to damage, and the table of what became of it."""

import collections
import pathlib
from collections.abc import Callable, Iterable

import pytest
import tiny_job
from damage import GOOD, Outcome, Trial, counted

from dtvg_jax.jobs import pipeline

PROPERTY = "faults"
# What other trials of the same kinds gave at revision 2cbe645.
BEFORE = {
    "checkpoint: data": "20 of 20 silent",
    "job: disk": "7 of 7 traceback",
    "results.json": "9 of 27 silent",
    "token table: meta.json": "11 of 28 silent",
}


@pytest.fixture(scope="session")
def finished(cache, tmp_path_factory) -> pathlib.Path:
    """The folder of a finished job; whoever damages it puts back what was there."""
    folder = tmp_path_factory.mktemp("faults") / "job"
    pipeline.run(tiny_job.make(cache), folder)
    return folder


@pytest.fixture
def judge(record_property) -> Callable[[str, Iterable[Trial]], None]:
    """Counts trials for the table, and fails where one did not end well."""

    def judged(kind: str, found: Iterable[Trial]) -> None:
        found = list(found)
        for damage, outcome, count in counted(found):
            record_property(PROPERTY, [kind, damage, outcome, count])
        bad = [trial for trial in found if trial.outcome not in GOOD]
        said = "\n".join(f"{trial.outcome}: {trial.what}" for trial in bad)
        assert not bad, f"{len(bad)} of {len(found)}\n{said}"

    return judged


def pytest_terminal_summary(terminalreporter, config):
    """Prints the counts of all trials, where the long ones were among them."""
    counts: dict[tuple[str, str], collections.Counter[str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == PROPERTY and getattr(report, "when", "") == "call":
                    kind, damage, outcome, count = value
                    counts.setdefault((kind, damage), collections.Counter())
                    counts[kind, damage][outcome] += count
    if counts and config.option.markexpr != "not slow":
        for line in table(counts):
            terminalreporter.write_line(line)


def table(counts: dict[tuple[str, str], collections.Counter[str]]) -> list[str]:
    """Lays out the counts: a line for each kind of file, and each damage to it."""
    width = max(len(kind) for kind, _ in counts) + 2
    heads = ["trials", *Outcome]
    lines = [f"{'file':{width}}{'damage':13}" + "".join(f"{h:>11}" for h in heads)]
    lines[0] += "   at 2cbe645"
    total: collections.Counter[str] = collections.Counter()
    last = ""
    for (kind, damage), found in sorted(counts.items()):
        numbers = [found.total(), *(found[outcome] for outcome in Outcome)]
        cells = "".join(f"{number:>11}" for number in numbers)
        before = "" if kind == last else BEFORE.get(kind, "")
        name = "" if kind == last else kind
        lines.append(f"{name:{width}}{damage:13}{cells}   {before}".rstrip())
        total, last = total + found, kind
    numbers = [total.total(), *(total[outcome] for outcome in Outcome)]
    cells = "".join(f"{number:>11}" for number in numbers)
    return [*lines, f"{'all':{width}}{'':13}{cells}"]
