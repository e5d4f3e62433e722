"""What `--dry_run` says of devices and rows: mesh, lengths, padding, operations."""

from collections.abc import Collection, Sequence

from dtvg_jax.data import microbatches, token_table
from dtvg_jax.data.microbatches import Stream
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.formats.load import open_source
from dtvg_jax.jobs import costs, plan, token_tables
from dtvg_jax.jobs.job import Job
from dtvg_jax.jobs.token_tables import Tables
from dtvg_jax.training import placement, programs
from dtvg_jax.training.runs import Run
from dtvg_jax.training.utilisation import Prompted

COUNTED = 64  # steps whose tokens are counted

_HEAD: tuple[str, ...] = ("task", "inputs: mean", "longest", "at most", "truncated")
_HEAD += ("targets: longest", "at most", "truncated")


def describe(job: Job, taken: Collection[Run] = ()) -> str:
    """Describes the mesh, rows, microbatches, and what training takes at the least.

    Reads no weights; token tables that the cache lacks are made. Sources that are
    `taken` from other stores have none.
    """
    source = open_source(job.backbone, job.cache_dir)
    tables = token_tables.open_tables(job, source.vocabulary(), lambda: None, taken)
    mesh = job.mesh or placement.chosen_here(source.config, job.dtype)
    place = placement.make(mesh)
    lines = [
        placement.described(place, source.config, job.dtype),
        "",
        "Lengths in tokens, training rows:",
        *_of_tasks(job, tables, taken),
        "",
    ]
    total = 0.0
    for program in plan.programs(job, taken):
        streams = [
            Stream(token_tables.training_rows(job, tables, run), run.seed)
            for run in program.runs
        ]
        size = plan.stage_of(job, program).batch_size
        model = Prompted(source.config, job.prompt_length, program.method.looks_at_rows)
        total += costs.operations(model, streams, program.lanes, size)
        cut = programs.choose_cut(
            streams, size, source.config, job.prompt_length, place
        )
        padding = microbatches.padding(streams, size, cut, COUNTED)
        shapes = ", ".join(f"{b.rows} x {b.inputs}" for b in cut.buckets)
        lines.append(
            f"{program.name}: microbatches of {shapes} tokens; "
            f"{padding.real / COUNTED:,.0f} input tokens a step, and "
            f"{1 - padding.real / padding.positions:.0%} of their inputs is padding"
        )
    lines.append(costs.describe(total, place.mesh.devices.flat, job.dtype))
    return "\n".join(lines)


def _of_tasks(job: Job, tables: Tables, taken: Collection[Run]) -> list[str]:
    rows = [_HEAD]
    for task in plan.measured_tasks(job, taken):
        table = tables[task, token_tables.training_split(job, task, job.seeds[0])]
        rows.append(_of_task(task, table, token_tables.lengths(job, task)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [map(str.ljust, row, widths) for row in rows]
    return ["  ".join(row).rstrip() for row in padded]


def _of_task(task: str, table: TokenTable, most: Sequence[int]) -> tuple[str, ...]:
    lost = token_table.losses(table)
    return (
        task,
        f"{table.input_lengths.mean():.1f}",
        str(table.input_lengths.max()),
        str(most[0]),
        f"{lost.inputs_truncated:.2%}",
        str(table.target_lengths.max()),
        str(most[1]),
        f"{lost.targets_truncated:.2%}",
    )
