"""Proof that a job survives kill -9: killed at random moments, it ends the same."""

import contextlib
import math
import pathlib
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from dtvg_jax import report
from dtvg_jax.errors import InputError
from dtvg_jax.store.prompt_store import PromptStore
from dtvg_jax.training import metrics_log

UNDISTURBED, KILLED = "undisturbed", "killed"
# Of the undisturbed job's time: a life is long enough to reach another checkpoint.
LONGEST_LIFE = 0.4

Check = Callable[[], None]


class Verdict(NamedTuple):
    """How a job that was killed compares with one that was not."""

    kills: int
    entries: int
    differing: list[str]  # entries with another prompt, or in one of the jobs only
    same_log: bool
    same_scores: bool

    @property
    def same(self) -> bool:
        """True where nothing differs."""
        return not self.differing and self.same_log and self.same_scores


def verify(
    flags: Sequence[str],
    folder: pathlib.Path,
    kills: int,
    seed: int = 0,
    say: Callable[[str], None] = print,
    check: Check = lambda: None,
) -> Verdict:
    """Runs a job twice, once undisturbed and once killed at random moments.

    `flags` are those of the command `train`, without --job_dir. A job that is finished
    in `folder` already is not run again. `check` is called while a job runs; where it
    raises, the job is killed. Raises InputError where a run fails by itself.
    """
    began = time.monotonic()
    _run(flags, folder / UNDISTURBED, check)
    seconds = time.monotonic() - began
    say(f"undisturbed: {seconds:.0f} s")
    draw = random.Random(seed)
    for number in range(1, kills + 1):
        life = draw.uniform(0, LONGEST_LIFE * seconds)
        ended = _kill(flags, folder / KILLED, life, check)
        say(f"kill {number} of {kills} after {life:.1f} s{ended}")
    _run(flags, folder / KILLED, check)
    return compare(folder / UNDISTURBED, folder / KILLED, kills)


def compare(undisturbed: pathlib.Path, killed: pathlib.Path, kills: int = 0) -> Verdict:
    """Compares prompts, logs and scores of two finished jobs."""
    digests = [
        {name: store.read(name).metadata.prompt_digest for name in store.names()}
        for store in (PromptStore(job / "store") for job in (undisturbed, killed))
    ]
    names = sorted({*digests[0], *digests[1]})
    rows = [report.read(job / report.FILE).rows for job in (undisturbed, killed)]
    logs = [(job / metrics_log.FILE).read_bytes() for job in (undisturbed, killed)]
    return Verdict(
        kills=kills,
        entries=len(names),
        differing=[n for n in names if digests[0].get(n) != digests[1].get(n)],
        same_log=logs[0] == logs[1],
        same_scores=rows[0] == rows[1],
    )


def _run(flags: Sequence[str], job: pathlib.Path, check: Check) -> None:
    with _started(flags, job) as process:
        errors = _errors(process, math.inf, check) or ""
    if process.returncode:
        last = errors.strip().rpartition("\n")[2]
        raise InputError(f"the job in {job} failed: {last or process.returncode}")


def _kill(flags: Sequence[str], job: pathlib.Path, life: float, check: Check) -> str:
    """Starts a job and kills it after `life` seconds; says so if it ended before."""
    with _started(flags, job) as process:
        errors = _errors(process, life, check)
    return "" if errors is None else " (it had ended)"


@contextlib.contextmanager
def _started(
    flags: Sequence[str], job: pathlib.Path
) -> Iterator["subprocess.Popen[str]"]:
    """Starts a job, and kills it at the end, however that comes."""
    command = [sys.executable, "-m", "dtvg_jax.train", *flags, f"--job_dir={job}"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _errors(
    process: "subprocess.Popen[str]", seconds: float, check: Check
) -> str | None:
    """Waits for a job and gives its standard error; None where it still runs."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=min(left, 0.2))[1]
    return None
