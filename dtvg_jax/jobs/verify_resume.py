"""Proof that a job survives kill -9: killed at random moments, it ends the same."""

import pathlib
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dtvg_jax import report
from dtvg_jax.errors import InputError
from dtvg_jax.store.prompt_store import PromptStore
from dtvg_jax.training import metrics_log

UNDISTURBED, KILLED = "undisturbed", "killed"
# Of the undisturbed job's time: a life is long enough to reach another checkpoint.
LONGEST_LIFE = 0.4


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
) -> Verdict:
    """Runs a job twice, once undisturbed and once killed at random moments.

    `flags` are those of the command `train`, without --job_dir. A job that is finished
    in `folder` already is not run again. Raises InputError where a run fails by itself.
    """
    began = time.monotonic()
    _run(flags, folder / UNDISTURBED)
    seconds = time.monotonic() - began
    say(f"undisturbed: {seconds:.0f} s")
    draw = random.Random(seed)
    for number in range(1, kills + 1):
        life = draw.uniform(0, LONGEST_LIFE * seconds)
        ended = _kill(flags, folder / KILLED, life)
        say(f"kill {number} of {kills} after {life:.1f} s{ended}")
    _run(flags, folder / KILLED)
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


def _command(flags: Sequence[str], job: pathlib.Path) -> list[str]:
    return [sys.executable, "-m", "dtvg_jax.train", *flags, f"--job_dir={job}"]


def _run(flags: Sequence[str], job: pathlib.Path) -> None:
    done = subprocess.run(_command(flags, job), capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise InputError(f"the job in {job} failed: {last or done.returncode}")


def _kill(flags: Sequence[str], job: pathlib.Path, life: float) -> str:
    """Starts a job and kills it after `life` seconds; says so if it ended before."""
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(
        _command(flags, job), stdout=nowhere, stderr=nowhere
    ) as process:
        try:
            process.wait(timeout=life)
        except subprocess.TimeoutExpired:
            process.kill()
            return ""
    return " (it had ended)"
