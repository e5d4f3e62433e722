"""Whether memory, open files and threads stay as they are over many lines and steps.

    python -m benchmarks.soak [--lines=50000] [--steps=2000]

Feeds lines to one `predict` process, 1 in 100 of them bad and of each kind in turn, and
checks every answer; then runs a training job. Prints JSON: resident memory in MiB, open
files and threads of each process after a fifth of its work and at its end. About 10
minutes on 2 cores.
"""

import argparse
import json
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from dtvg_jax.formats.load import load_backbone
from dtvg_jax.store import entries
from dtvg_jax.store.prompt_store import PromptStore
from dtvg_jax.training import metrics_log

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLE = runpy.run_path(str(ROOT / "tests" / "bad_lines.py"))
BAD: list[tuple[bytes, str]] = TABLE["BAD"]
BAD_EVERY = 100
WARM_UP = 0.2  # of the work, before the first figures are taken
SAMPLES = 50


class Figures(NamedTuple):
    """What a process holds."""

    rss_mib: float
    files: int
    threads: int


def figures(pid: int) -> Figures:
    """Reads what a process holds from /proc."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = dict(line.split(":", 1) for line in status.splitlines())
    return Figures(
        rss_mib=round(int(found["VmRSS"].split()[0]) / 1024, 1),
        files=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(found["Threads"]),
    )


def summary(samples: list[Figures]) -> dict[str, object]:
    """Compares the first sample after the warm-up with the last, and the highest."""
    highest = Figures(*map(max, zip(*samples, strict=True)))
    named = {"warm": samples[0], "end": samples[-1], "highest": highest}
    return {name: one._asdict() for name, one in named.items()}


def lines(count: int) -> Iterator[tuple[bytes, str | None]]:
    """Yields lines, and of bad ones what is to be said."""
    for number in range(count):
        if number % BAD_EVERY == BAD_EVERY - 1:
            yield BAD[number // BAD_EVERY % len(BAD)]
        else:
            words = " ".join(["the meal was good"] * (1 + number % 7))
            fields = {"task": "sst2", "sentence": f"{words} {number}"}
            yield json.dumps(fields).encode(), None


def make_store(folder: pathlib.Path) -> None:
    """Writes a prompt of random numbers under each name that the bad lines expect."""
    backbone = load_backbone("miniature")
    width = backbone.embedding(backbone.params).shape[1]
    draw = np.random.default_rng(0)
    for name in TABLE["STORED"]:
        about = entries.Metadata(
            *entries.parse(name),
            backbone_digest=backbone.digest,
            vocabulary_digest=backbone.vocabulary.digest,
        )
        prompt = draw.normal(size=(16, width)).astype(np.float32)
        PromptStore(folder).write({"prompt": prompt}, about)


def feed(stdin: IO[bytes], count: int) -> None:
    """Writes all lines, and closes the stream."""
    with stdin:
        for line, _ in lines(count):
            stdin.write(line + b"\n")


def predict(folder: pathlib.Path, count: int) -> dict[str, object]:
    """Has all lines answered by one process; checks each answer."""
    make_store(folder / "store")
    command = [sys.executable, "-m", "dtvg_jax.predict", "--targets_length=2"]
    command += [f"--store={folder}/store", f"--cache_dir={folder}/cache"]
    samples, bad = [], 0
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        feeder = threading.Thread(target=feed, args=(process.stdin, count))
        feeder.start()
        every = max(1, count // SAMPLES)
        for number, (_, error) in enumerate(lines(count), start=1):
            answer = json.loads(process.stdout.readline())
            assert answer["line"] == number, answer
            assert answer.get("error", "").startswith(error or ""), answer
            assert ("error" in answer) == (error is not None), answer
            bad += error is not None
            if number % every == 0 and WARM_UP * count <= number < count:
                samples.append(figures(process.pid))
        feeder.join()
    assert process.returncode == 0
    return {"lines": count, "bad": bad, **summary(samples)}


def train(folder: pathlib.Path, steps: int) -> dict[str, object]:
    """Runs a job of one stage; takes figures while it trains."""
    job = folder / "job"
    settings = {
        "job.Job.targets": [],
        "job.Job.methods": [],
        "job.Job.cache_dir": str(folder / "cache"),
        "stage1/stages.Stage.steps": steps,
        "stage1/stages.Stage.validate_every": max(1, steps // 20),
    }
    command = [sys.executable, "-m", "dtvg_jax.train", f"--job_dir={job}"]
    command += ["--gin_file=gin/test/small_job.gin"]
    command += [f"--gin.{name}={value!r}" for name, value in settings.items()]
    samples = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if WARM_UP * steps <= last_step(job) < steps:
                samples.append(figures(process.pid))
            try:
                process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                pass
    assert process.returncode == 0
    return {"steps": steps, **summary(samples)}


def last_step(job: pathlib.Path) -> int:
    """Reads how far a job is; 0 before its first step is logged."""
    records = metrics_log.read(job / metrics_log.FILE)
    return records[-1].step if records else 0


def main() -> None:
    """Runs both and prints what they held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--steps", type=int, default=2_000)
    given = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        made = {
            "predict": predict(folder, given.lines),
            "train": train(folder, given.steps),
        }
    print(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
