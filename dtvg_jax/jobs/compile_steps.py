"""The programs of a job compiled for a TPU slice that is not here."""

from dtvg_jax.files import JsonObject
from dtvg_jax.formats import families
from dtvg_jax.formats.load import open_source
from dtvg_jax.jobs import plan, taken_prompts, token_tables
from dtvg_jax.jobs.job import Job
from dtvg_jax.models.backbone import Config
from dtvg_jax.training import compile_ahead


def compile_steps(job: Job, topology: str) -> JsonObject:
    """Compiles a job's steps for a slice such as "v5e:2x4"; no weights are read.

    Returns figures of each program: see `compile_ahead.compile_steps`.
    """
    config = _config(job)
    programs = plan.programs(job, taken_prompts.find(job))
    steps = {program.name: _step(job, program) for program in programs}
    return compile_ahead.compile_steps(topology, config, steps, job.dtype, job.mesh)


def _config(job: Job) -> Config:
    if job.config is None:
        return open_source(job.backbone, job.cache_dir).checkpoint.config
    return families.of(job.config, "config").published(job.config)


def _step(job: Job, program: plan.Program) -> compile_ahead.Step:
    stage = plan.stage_of(job, program)
    lengths = [token_tables.lengths(job, run.task) for run in program.runs]
    inputs, targets = (max(each) for each in zip(*lengths, strict=True))
    shapes = compile_ahead.Shapes(
        lanes=len(program.lanes),
        groups=len(program.lanes) if program.stage == 1 else len(job.seeds),
        sources=len(job.sources) if program.stage == 2 else 0,
        prompt_length=job.prompt_length,
        batch_size=stage.batch_size,
        inputs_length=inputs,
        targets_length=targets,
    )
    return compile_ahead.Step(
        method=program.method,
        optimiser=stage.optimiser_in(program.stage),
        shapes=shapes,
        dropout=stage.dropout,
        remat=stage.remat,
    )
