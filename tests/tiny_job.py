"""A job of two prompts that takes seconds, for the tests of faults."""

import pathlib

from dtvg_jax.jobs.job import Job
from dtvg_jax.training.stages import Stage

STAGE = Stage(
    steps=6, learning_rate=0.1, batch_size=4, validate_every=3, log_every=1, warmup=1
)
# The same job as a user's gin file.
GIN = """from __gin__ import dynamic_registration

from dtvg_jax.jobs import job
from dtvg_jax.training import stages

job.Job.backbone = "miniature"
job.Job.sources = ["sst2", "mrpc"]
job.Job.targets = []
job.Job.methods = []
job.Job.seeds = [0]
job.Job.prompt_length = 4
job.Job.inputs_length = 32
job.Job.targets_length = 2
job.Job.validation_rows = 20
job.Job.test_rows = 30
job.Job.evaluation_batch_size = 10
job.Job.stage1 = @stages.Stage()
job.Job.stage2 = @stages.Stage()
stages.Stage.steps = 6
stages.Stage.learning_rate = 0.1
stages.Stage.batch_size = 4
stages.Stage.validate_every = 3
stages.Stage.log_every = 1
stages.Stage.warmup = 1
"""


def make(cache: pathlib.Path) -> Job:
    """Makes the settings."""
    return Job(
        backbone="miniature",
        sources=["sst2", "mrpc"],
        targets=[],
        methods=[],
        seeds=[0],
        prompt_length=4,
        inputs_length=32,
        targets_length=2,
        stage1=STAGE,
        stage2=STAGE,
        validation_rows=20,
        test_rows=30,
        evaluation_batch_size=10,
        cache_dir=str(cache),
    )
