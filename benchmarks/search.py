"""A search as one job against its trials as jobs of their own: seconds.

    python -m benchmarks.search

Runs the search of benchmarks/search.gin, then a sample of its trials, each by a command
of its own that takes the sources from the search's store and learns the target's own
prompt. All use one cache, so single jobs after the first of a method compile nothing;
their median times the number of trials is what all would take. The search's seconds
are those of both stages. JSON on standard output. Twenty minutes on 2 cores.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

SEARCH, SINGLE = "benchmarks/search.gin", "gin/runs/quickstart.gin"
SAMPLE = 6


def run(gin_file: str, folder: pathlib.Path, bindings: dict[str, object]) -> float:
    """Runs a job and returns the seconds of its process."""
    cache = str(folder.parent / "cache")
    bindings = {"job.Job.cache_dir": cache, **bindings}
    flags = [f"--gin.{name}={value!r}" for name, value in bindings.items()]
    command = [sys.executable, "-m", "dtvg_jax.train", f"--gin_file={gin_file}"]
    start = time.perf_counter()
    subprocess.run(
        [*command, *flags, f"--job_dir={folder}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return round(time.perf_counter() - start, 1)


def single(trial: dict[str, Any], store: str) -> dict[str, object]:
    """Gives the settings of a job of one trial."""
    return {
        "job.Job.targets": [trial["task"]],
        "job.Job.methods": [trial["method"]],
        "job.Job.seeds": [trial["seed"]],
        "job.Job.prompts_from": [store],
        "stage2/stages.Stage.learning_rate": trial["trial"]["rate"],
    }


def main() -> None:
    """Times the search, and a sample of its trials."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        # The first job fills the cache with tables and compiled programs.
        run(SINGLE, folder / "first", {"job.Job.seeds": [0]})
        whole = run(SEARCH, folder / "whole", {})
        found = json.loads((folder / "whole" / "results.json").read_text())
        trials, store = found["trials"], str(folder / "whole" / "store")
        singles = [
            run(SINGLE, folder / f"single{i}", single(trial, store))
            for i, trial in enumerate(trials[:: len(trials) // SAMPLE])
        ]
    alone = statistics.median(singles) * len(trials)
    made = {
        "trials": len(trials),
        "seconds of the search": whole,
        "seconds of single jobs": singles,
        "seconds of all trials as single jobs": round(alone),
        "search / single jobs": round(whole / alone, 3),
        "cores": os.cpu_count(),
    }
    print(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
