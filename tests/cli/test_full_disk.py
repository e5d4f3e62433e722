"""A job on a disk that is full: one sentence, and then the same prompts."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

AGAIN = ", and run the same command again: it resumes"
FULL = "the disk is full: free some space"
LARGER = "remount,size=50m tmpfs {job}"
# What limits the first run, what lifts that for the second, and what the first says.
LIMITS = [
    ("mount -t tmpfs -o size=60k tmpfs {job}", f"mount -o {LARGER}", FULL),
    ("mount -t tmpfs -o size=200k tmpfs {job}", f"mount -o {LARGER}", FULL),
    (
        "ulimit -S -f 8",
        "ulimit -S -f unlimited",
        "the file would be larger than is allowed: raise the limit `ulimit -f`",
    ),
    (
        "ulimit -S -n 24",
        "ulimit -S -n 1024",
        "too many files are open: raise the limit, as `ulimit -n 4096` does",
    ),
]


def digests(store: pathlib.Path) -> dict[str, str]:
    return {
        str(path.parent.relative_to(store)): json.loads(path.read_text())["files"]
        for path in store.glob("*/*/entry.json")
    }


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of bash that may mount file systems, which end with it."""
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "bash", "-c", line],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )


def command(cache: pathlib.Path, job: pathlib.Path) -> str:
    """The command of a small job of one stage."""
    return (
        f"{sys.executable} -m dtvg_jax.train --gin_file=gin/test/small_job.gin "
        "--gin.job.Job.targets=[] --gin.job.Job.methods=[] "
        f"\"--gin.job.Job.cache_dir='{cache}'\" --job_dir={job}"
    )


@pytest.fixture(scope="module")
def expected(cache, tmp_path_factory) -> dict[str, str]:
    """The prompts of an undisturbed job, whose token tables the others then find."""
    job = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run(command(cache, job), shell=True, cwd=ROOT)
    assert done.returncode == 0
    return digests(job / "store")


@pytest.mark.parametrize("limit, lift, said", LIMITS, ids=[one for one, *_ in LIMITS])
def test_a_full_disk_is_one_sentence_and_the_job_resumes(
    cache, tmp_path, expected, limit, lift, said
):
    if shell(f"mount -t tmpfs tmpfs {tmp_path}").returncode:
        pytest.skip("file systems cannot be mounted here")
    job, kept = tmp_path / "job", tmp_path / "kept"
    job.mkdir()
    run = command(cache, job)
    done = shell(
        f"{limit.format(job=job)}; {run}; echo $? >&2; {lift.format(job=job)}; {run}; "
        f"echo $? >&2; cp -r {job}/store {kept}"
    )
    # Warnings are of texts that are truncated in the data.
    lines = done.stderr.splitlines()
    error, first, second = (one for one in lines if not one.startswith("WARNING: "))
    assert error.startswith("error: ") and error.endswith(f"{said}{AGAIN}")
    assert (first, second) == ("2", "0")
    assert digests(kept) == expected
