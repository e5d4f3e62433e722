"""The report as text: results.md.

A section is a function from the report to its paragraphs and tables, and a line of
`SECTIONS`; one without content is left out.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from dtvg_jax.report import glossary, health
from dtvg_jax.report.records import Failure, Problem, Report
from dtvg_jax.report.tables import (
    Table,
    ceiling_table,
    group_table,
    method_table,
    mixture_table,
    numeric_columns,
    search_table,
    source_table,
    target_table,
    useful_table,
)
from dtvg_jax.report.verdicts import by_target, compared

Section: TypeAlias = Callable[[Report], Sequence[str | Table]]


def render(report: Report) -> str:
    """Makes the text of results.md; a column is explained below its first table."""
    explained: set[str] = set()
    parts = [f"# Results of {report.name}", *_what_was_run(report)]
    for title, section in SECTIONS:
        blocks = [block for block in section(report) if block]
        parts += [f"## {title}"] if blocks else []
        for block in blocks:
            if isinstance(block, Table):
                parts += [_pipes(block), _explanations(block, explained)]
                explained |= block.columns.keys()
            else:
                parts.append(block)
    return "\n\n".join(part for part in parts if part) + "\n"


def failed_lanes(failed: Sequence[Failure]) -> str:
    """Lists failed lanes, a line each."""
    return "\n".join(
        f"- {one.task}, {one.method}, seed {one.seed}, stage {one.stage}: {one.reason}"
        for one in failed
    )


def problem_lines(problems: Sequence[Problem]) -> str:
    """Lists signs that lanes did not learn, a line each."""
    return "\n".join(f"- {health.sentence(one)}" for one in problems)


def _what_was_run(report: Report) -> list[str]:
    job = report.results.job
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in job.seconds.items())
    lines = [
        f"- backbone: {job.backbone} ({job.backbone_digest[:12]}), "
        f"prompts of {job.prompt_length} rows",
        f"- seeds: {', '.join(map(str, job.seeds))}",
        f"- sources: {', '.join(job.sources) or 'none'}",
        f"- targets: {', '.join(job.targets) or 'none'}",
        f"- methods: {', '.join(job.methods)}",
    ]
    if job.taken:
        lines.append(f"- taken from other stores: {len(job.taken)} prompts of stage 1")
    return ["\n".join(lines + ([f"- time: {seconds}"] if seconds else []))]


def _terms(_: Report) -> list[str]:
    return [glossary.TERMS]


def _methods(report: Report) -> list[str | Table]:
    compared_ones = report.summary.comparisons
    if not compared_ones:
        return []
    job = report.results.job
    described = {
        one.method: glossary.description(job, one.method) for one in compared_ones
    }
    lines = [f"- **{name}**: {text}." for name, text in described.items() if text]
    sentences = [f"{compared(one)} {by_target(one)}".strip() for one in compared_ones]
    return ["\n".join(lines), method_table(report), *sentences]


def _targets(report: Report) -> list[Table]:
    table = target_table(report)
    return [table] if table.rows else []


def _search(report: Report) -> list[str | Table]:
    if not report.summary.settings:
        return []
    return [
        "Every setting was trained with every seed. A number is the mean over seeds of "
        'the best validation score; "to 50" means that the setting was stopped at step '
        '50, being in the worse half. The one with "*" was chosen for its method on '
        "that target, for all seeds; only its prompts were tested.",
        search_table(report.summary.settings),
    ]


def _ceilings(report: Report) -> list[str | Table]:
    table = ceiling_table(report)
    if not table.rows:
        return []
    return ["What the backbone reaches where all its weights are tuned.", table]


def _sources(report: Report) -> list[Table]:
    tables = (source_table(report), mixture_table(report))
    return [table for table in tables if table.rows]


def _groups(report: Report) -> list[str | Table]:
    groups, blocks = report.summary.groups, []
    useful = useful_table(groups)
    if useful.rows:
        blocks += [
            useful,
            "A source that shares no skill can still help, through the digits of its "
            "answers; such a source is not counted as useful.",
        ]
    if groups:
        blocks += [
            "Share of the logged steps, in %, at which the source was in the target's "
            'group; mean over seeds. "-" marks the target itself.',
            group_table(groups),
        ]
    return blocks


def _failed(report: Report) -> list[str]:
    return [failed_lanes(report.summary.failed) or "None."]


def _problems(report: Report) -> list[str]:
    return [problem_lines(report.summary.problems)]


def _files(report: Report) -> list[str]:
    lines = [
        "- `results.json`: every number above, per seed",
        "- `predictions/`: the answers from which the scores were computed",
        "- `store/`: the learned prompts",
        "- `metrics.jsonl`, `tensorboard/`: what was logged during training",
    ]
    lines += [f"- `plots/{plot.file}`: {plot.shows}" for plot in report.plots]
    return ["\n".join(lines)]


SECTIONS: Sequence[tuple[str, Section]] = (
    ("Terms", _terms),
    ("Methods", _methods),
    ("Targets", _targets),
    ("Search", _search),
    ("All weights", _ceilings),
    ("Sources", _sources),
    ("Groups", _groups),
    ("Failed lanes", _failed),
    ("Problems", _problems),
    ("Files", _files),
)


def _explanations(table: Table, explained: set[str]) -> str:
    return "\n".join(
        f"- **{column}**: {text}"
        for column, text in table.columns.items()
        if text and column not in explained
    )


def _pipes(table: Table) -> str:
    rule = ["---:" if numeric else "---" for numeric in numeric_columns(table)]
    lines = [table.columns, rule, *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
