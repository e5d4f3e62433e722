"""python -m dtvg_jax.train --gin_file=gin/runs/quickstart.gin --job_dir=jobs/quickstart

Learns prompts of tasks and transfers them to others, as gin files say. The same command
resumes a job that was stopped, and shows the results of a finished one. --dry_run shows
the plan; --compile_only --topology=v5e:2x4 compiles the steps for a TPU slice that need
not be attached. docs/running.md says more.
"""

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from absl import flags

from dtvg_jax import files
from dtvg_jax.cli import (
    command,
    compilation_cache,
    gin_settings,
    host_settings,
    processes,
    signals,
)
from dtvg_jax.errors import InputError

if TYPE_CHECKING:
    from dtvg_jax.jobs import job

FLAGS = flags.FlagValues()
GIN = gin_settings.define_flags(FLAGS)
host_settings.define_flag(FLAGS)
processes.define_flags(FLAGS)
JOB_DIR = flags.DEFINE_string(
    "job_dir", None, "Folder of the job; made if absent.", flag_values=FLAGS
)
DRY_RUN = flags.DEFINE_bool(
    "dry_run",
    False,
    "Show the plan, lengths and padding; make token tables and nothing else.",
    flag_values=FLAGS,
)
COMPILE_ONLY = flags.DEFINE_bool(
    "compile_only",
    False,
    "Compile the steps for --topology and print memory and operations as JSON.",
    flag_values=FLAGS,
)
TOPOLOGY = flags.DEFINE_string(
    "topology",
    None,
    "The TPU slice to compile for, such as v5e:2x4.",
    flag_values=FLAGS,
)
DATA_DIR = flags.DEFINE_string(
    "tfds_data_dir",
    None,
    "Folder of prepared TFDS data, instead of the setting Job.data_dir.",
    flag_values=FLAGS,
)
DOWNLOAD = flags.DEFINE_bool(
    "download",
    False,
    "Download and prepare the data that are missing in that folder.",
    flag_values=FLAGS,
)

PROFILE = flags.DEFINE_integer(
    "profile",
    None,
    "Write a trace of so many training steps of each program into the job's folder.",
    1,
    flag_values=FLAGS,
)


def main(words: list[str], received: signals.Signals) -> None:
    """Reads the settings and does what the flags say."""
    # After the flags, so that --help and a misspelt flag need not wait for JAX.
    from dtvg_jax import report
    from dtvg_jax.jobs import (
        compile_steps,
        job,
        lengths,
        pipeline,
        plan,
        taken_prompts,
    )

    config = _with_flags(gin_settings.configure(job.Job, GIN))
    if DRY_RUN.value:
        taken = taken_prompts.find(config)
        print(plan.describe(config, taken))
        print(lengths.describe(config, taken))
        return
    if COMPILE_ONLY.value:
        if TOPOLOGY.value is None:
            raise InputError("--compile_only needs --topology, such as v5e:2x4")
        figures = compile_steps.compile_steps(config, TOPOLOGY.value)
        print(json.dumps(figures, indent=1))
        return
    if JOB_DIR.value is None:
        raise InputError("no folder for the job: give --job_dir=DIR")
    folder = files.expand(JOB_DIR.value)
    processes.start(FLAGS)
    compilation_cache.enable(config.cache_dir)
    with received.between_steps() as check:
        results = pipeline.run(
            config,
            folder,
            check=check,
            config_gin=gin_settings.operative_config(),
            command=sys.argv,
            profile=PROFILE.value,
        )
    report.print_table(results, folder)


def _with_flags(config: "job.Job") -> "job.Job":
    changed = dataclasses.replace(config, download=config.download or DOWNLOAD.value)
    if DATA_DIR.value is None:
        return changed
    return dataclasses.replace(changed, data_dir=DATA_DIR.value)


COMMAND = command.Command(__doc__ or "", FLAGS, main, resumes=True)


def run() -> None:
    """Runs the command with the arguments of this process."""
    command.run(COMMAND, sys.argv)


if __name__ == "__main__":
    run()
