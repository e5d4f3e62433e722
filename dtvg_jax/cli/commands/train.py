"""python -m dtvg_jax.train --gin_file=gin/runs/quickstart.gin --job_dir=jobs/quickstart

Learns prompts of tasks and transfers them, as gin files say. The same command goes on
with a job that was stopped. --dry_run shows the plan; --compile_only
--topology=v5e:2x4 compiles the steps for a TPU slice that is not here.
docs/running.md says more.
"""

import dataclasses
import json
import pathlib
import sys
from typing import Any

from absl import flags

from dtvg_jax.cli import app
from dtvg_jax.errors import InputError

JOB_DIR = flags.DEFINE_string("job_dir", None, "Folder of the job; made if absent.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Show the plan and write nothing.")
COMPILE_ONLY = flags.DEFINE_bool(
    "compile_only", False, "Compile the steps for --topology, print figures, and end."
)
DATA_DIR = flags.DEFINE_string(
    "tfds_data_dir", None, "Folder of prepared TFDS data, in place of Job.data_dir."
)
DOWNLOAD = flags.DEFINE_bool(
    "download", False, "Fetch and prepare the data that are missing in that folder."
)
TOPOLOGY = flags.DEFINE_string("topology", None, "A TPU slice, such as v5e:2x4.")


def main(command: list[str], check: app.Check) -> None:
    """Reads the configuration and does what the flags say."""
    from dtvg_jax import report
    from dtvg_jax.jobs import job, pipeline, plan

    config = _with_flags(app.configure(job.Job))
    if DRY_RUN.value:
        print(plan.describe(config))
        return
    if COMPILE_ONLY.value:
        if TOPOLOGY.value is None:
            raise InputError("--compile_only needs --topology, such as v5e:2x4")
        print(json.dumps(pipeline.compile_steps(config, TOPOLOGY.value), indent=1))
        return
    if JOB_DIR.value is None:
        raise InputError("no folder for the job: give --job_dir=DIR")
    app.cache_compilations(config.cache_dir)
    folder = pathlib.Path(JOB_DIR.value)
    results = pipeline.run(
        config,
        folder,
        check=check,
        config_gin=app.operative_config(),
        command=command,
    )
    report.print_table(results, folder)


def _with_flags(config: Any) -> Any:
    changes: dict[str, Any] = {"download": config.download or DOWNLOAD.value}
    if DATA_DIR.value is not None:
        changes["data_dir"] = DATA_DIR.value
    return dataclasses.replace(config, **changes)


def run() -> None:
    """Entry point."""
    app.run(main, sys.argv)


if __name__ == "__main__":
    run()
