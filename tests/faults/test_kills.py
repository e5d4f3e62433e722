"""A job that is killed, or finds no room, ends as one that was not once it goes on."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import killed_job
import pytest
from damage import Damage, Outcome, Trial, outcome_of

from dtvg_jax.jobs import pipeline

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(cache, tmp_path_factory) -> dict[str, object]:
    """All that a job leaves behind."""
    return finished(tmp_path_factory.mktemp("kills") / "job", cache)


def finished(folder: pathlib.Path, cache: pathlib.Path) -> dict[str, object]:
    """Runs a job to its end, and reads what it left."""
    pipeline.run(killed_job.job(cache), folder)
    return left(folder)


def left(folder: pathlib.Path) -> dict[str, object]:
    """Reads all that a job wrote, but when and how fast."""
    timed = ("environment.json", "results.md", "results.json")
    parts = ("tensorboard", "checkpoints", "measured")
    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        own = not name.startswith(".") and name.split("/")[0] not in parts
        if own and name not in timed:
            found[name] = path.read_bytes()
    results = json.loads((folder / "results.json").read_text())
    for name in ("sha256", "job"):
        del results[name]
    return found | {"results": results}


@pytest.mark.parametrize("point", killed_job.POINTS)
def test_a_killed_job_ends_the_same(undisturbed, cache, tmp_path, judge, point):
    if point == "while tokenising":
        # A cache without tables, where others have generated the data.
        [data] = cache.glob("miniature-*")
        cache = tmp_path / "cache"
        cache.mkdir()
        (cache / data.name).symlink_to(data)
    folder = tmp_path / "job"
    command = [sys.executable, killed_job.__file__, point, folder, cache]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(command, capture_output=True, text=True, env=env)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    end, what = outcome_of(lambda: finished(folder, cache), undisturbed)
    judge(f"job: {point}", [Trial(Damage.KILLED, end, what)])


@pytest.mark.parametrize("kilobytes", [1, 4, 8, 16, 32, 64, 128])
def test_a_job_that_finds_no_room(undisturbed, cache, tmp_path, judge, kilobytes):
    """A limit on the size of a file stands for a full disk: both fail in a write."""
    settings = tmp_path / "job.gin"
    settings.write_text(killed_job.GIN)
    folder = tmp_path / "job"
    command = [sys.executable, "-m", "dtvg_jax.train", f"--gin_file={settings}"]
    command += [f"--job_dir={folder}", f"--gin.job.Job.cache_dir='{cache}'"]
    limited = ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash", *command]
    # As many devices as in this process, whose results are compared. JAX would leave
    # compiled programs cut off in the cache that all tests share, and warn of each.
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    env |= {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(limited, capture_output=True, text=True, env=env)
    end, what = Outcome.NOTICED, done.stderr
    if done.returncode != 2 or len(done.stderr.splitlines()) != 1:
        end = Outcome.TRACEBACK if done.returncode > 0 else Outcome.ABORT
    if done.returncode == 0:
        end = Outcome.HARMLESS
    elif end is Outcome.NOTICED and finished(folder, cache) != undisturbed:
        end = Outcome.SILENT
    judge("job: disk", [Trial(Damage.FULL, end, what)])
