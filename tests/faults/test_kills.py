"""A job that is killed at any point of its life ends as one that was not."""

import json
import pathlib
import signal
import subprocess
import sys

import killed_job
import pytest

from dtvg_jax.jobs import pipeline

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(cache, tmp_path_factory) -> dict[str, object]:
    """All that a job leaves behind."""
    folder = tmp_path_factory.mktemp("kills") / "job"
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
def test_a_killed_job_ends_the_same(undisturbed, cache, tmp_path, point):
    if point == "while tokenising":
        # A cache without tables, where others have generated the data.
        [data] = cache.glob("miniature-*")
        cache = tmp_path / "cache"
        cache.mkdir()
        (cache / data.name).symlink_to(data)
    folder = tmp_path / "job"
    command = [sys.executable, killed_job.__file__, point, folder, cache]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    pipeline.run(killed_job.job(cache), folder)
    assert left(folder) == undisturbed
