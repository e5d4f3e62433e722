"""Programs that a job compiles: how many, and their seconds, cold and from the cache.

    python -m benchmarks.programs

A job over the twelve tasks of the quick start, some steps of each stage, run by two
processes one after the other; both share a cache of token tables and programs, which
the first one fills. JSON on standard output. Five minutes on 2 cores.
"""

import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dtvg_jax.jobs import job

SOURCES = ["mnli", "qnli", "qqp", "sst2", "squad", "superglue-record"]
TARGETS = ["rte", "mrpc", "cola", "superglue-cb", "superglue-wic"]
TARGETS += ["superglue-boolq"]


def settings_of(cache: str) -> "job.Job":
    """Makes the settings of the job."""
    from dtvg_jax.jobs import job
    from dtvg_jax.training import stages

    stage = stages.Stage(steps=20, learning_rate=0.1, warmup=0, validate_every=20)
    return job.Job(
        backbone="miniature",
        sources=SOURCES,
        targets=TARGETS,
        stage1=stage,
        stage2=stage,
        seeds=(0,),
        prompt_length=16,
        validation_rows=50,
        test_rows=50,
        cache_dir=cache,
    )


def run_job(cache: str, folder: str) -> None:
    """Runs the job in this process, and prints what was compiled."""
    import jax
    from jax import monitoring

    from dtvg_jax.cli import compilation_cache
    from dtvg_jax.jobs import pipeline

    seconds: list[float] = []
    hits = collections.Counter()

    def count_compilation(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration_secs)

    monitoring.register_event_duration_secs_listener(count_compilation)
    monitoring.register_event_listener(lambda event, **_: hits.update([event]))
    compilation_cache.enable(cache)
    start = time.perf_counter()
    pipeline.run(settings_of(cache), folder)
    print(
        json.dumps(
            {
                "compilations": len(seconds),
                "of them longer than 1 s": sum(s > 1 for s in seconds),
                "seconds of compilation": round(sum(seconds), 1),
                "from the cache": hits["/jax/compilation_cache/cache_hits"],
                "seconds of the job": round(time.perf_counter() - start, 1),
                "jax": jax.__version__,
            }
        )
    )


def main() -> None:
    """Runs the job twice, each in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        found = {}
        for name in ("cold", "warm"):
            folder = str(pathlib.Path(scratch, name))
            command = [sys.executable, "-m", "benchmarks.programs"]
            command += [scratch + "/cache", folder]
            out = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name] = json.loads(out.stdout.splitlines()[-1])
        print(json.dumps(found | {"cores": os.cpu_count()}, indent=1))


if __name__ == "__main__":
    run_job(*sys.argv[1:]) if sys.argv[1:] else main()
