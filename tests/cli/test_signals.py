"""Jobs that are stopped from outside: exit codes, and the same end after going on."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from typing import IO

import pytest

from dtvg_jax import files

ROOT = pathlib.Path(__file__).resolve().parents[2]

COMMAND = """
import sys, time
from absl import flags
from dtvg_jax import files
from dtvg_jax.cli import command, standard_streams
def main(words, received):
    print("ready", flush=True)
{body}
command.run(command.Command("", flags.FlagValues(), main, resumes=True), ["job"])
"""


def program(body: str) -> str:
    return COMMAND.format(body="\n".join(f"    {one}" for one in body.splitlines()))


JOB = program("""
with received.between_steps() as check:
    print("begun", flush=True)
    try:
        while True:
            time.sleep(0.01)
            check()
    finally:
        print("saved", flush=True)
""")


def start(*command: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(text: str, stream: IO[str] | None) -> None:
    assert stream is not None
    for line in stream:
        if line.startswith(text):
            return
    raise AssertionError("the job ended before it could be disturbed")


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_lets_the_step_end_and_has_its_exit_code(number, code):
    process = start("-c", JOB)
    wait_for("begun", process.stdout)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert out == "saved\n"  # only what the command itself says
    assert err.splitlines() == [
        f"{number.name}: stopping after this step; a second signal stops at once",
        "stopped: run the same command again to resume",
    ]
    assert process.returncode == code


def test_a_second_signal_ends_the_process_at_once():
    """Even where the interpreter is busy in one call, as in a compilation."""
    busy = JOB.replace("time.sleep(0.01)", "time.sleep(60)")
    process = start("-c", busy)
    wait_for("begun", process.stdout)
    process.send_signal(signal.SIGINT)
    wait_for("SIGINT: stopping", process.stderr)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, "")


AT_ONCE = {
    "while it runs": "while True: pass",
    "while it waits for input": "standard_streams.standard_input().readline()",
    "where a library would swallow an exception": """
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
""",
}


@pytest.mark.parametrize("when", AT_ONCE)
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_stops_at_once(when, number, code):
    process = start("-c", program(AT_ONCE[when]))
    wait_for("ready", process.stdout)
    process.send_signal(number)
    assert process.stdout and process.stderr and process.stdin
    # Standard input stays open: that it ends is not what ends the command.
    assert process.wait(timeout=10) == code
    assert process.stderr.read() == f"stopped by {number.name}\n"
    assert process.stdout.read() == ""


def test_who_holds_a_lock_is_said_and_the_wait_can_be_ended(tmp_path):
    path = tmp_path / "lock"
    body = f"""
import pathlib
with received.between_steps() as check:
    with files.locked(pathlib.Path({str(path)!r}), wait=check):
        pass
"""
    with files.locked(path):
        process = start("-c", program(body))
        assert process.stderr
        said = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=10)
    assert process.returncode == 143 and "stopped: run the same command" in rest
    found = re.fullmatch(
        rf"waiting for process {os.getpid()} on \S+ since ....-..-.. ..:..:.., which "
        rf"holds {re.escape(str(path))}\n",
        said,
    )
    assert found, said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "report", "convert"])
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_loads_libraries_stops_at_once(name, number, code, tmp_path):
    flags = {
        "train": ["--gin_file=gin/test/small_job.gin", "--dry_run"],
        "evaluate": ["--store=absent", f"--out={tmp_path}"],
        "predict": [],
        "report": ["--job_dir=absent"],
        "convert": ["similarities", "--store=absent"],
    }
    for seconds in (0.2, 0.6, 1.2):
        process = start("-m", f"dtvg_jax.{name}", *flags[name])
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        if seconds > 0.2 and process.returncode == 2 and "absent" in str(flags[name]):
            assert err.startswith("error: ")  # it had already said what is absent
            continue
        assert (process.returncode, err) == (code, f"stopped by {number.name}\n")


def digests(folder: pathlib.Path) -> dict[str, str]:
    return {
        str(path.parent.relative_to(folder)): json.loads(path.read_text())["files"]
        for path in folder.glob("store/*/*/entry.json")
    }


@pytest.mark.slow
def test_a_killed_and_a_terminated_job_end_with_the_same_prompts(cache, tmp_path):
    flags = ["-m", "dtvg_jax.train", "--gin_file=gin/test/small_job.gin"]
    flags += [f"--gin.job.Job.cache_dir='{cache}'"]
    undisturbed = start(*flags, f"--job_dir={tmp_path / 'undisturbed'}")
    out, err = undisturbed.communicate()
    assert undisturbed.returncode == 0
    # Of texts that are truncated in the data.
    assert all(line.startswith("WARNING: ") for line in err.splitlines()), err
    assert "Targets" in out and "results.md" in out
    folder = tmp_path / "disturbed"
    for text, number, code in [
        ("stage1  step", signal.SIGKILL, -signal.SIGKILL),
        ("stage2-prompt_tuning-spot  step", signal.SIGKILL, -signal.SIGKILL),
        ("stage2-dtvg  step", signal.SIGTERM, 143),
        ("Targets", None, 0),
    ]:
        process = start(*flags, f"--job_dir={folder}")
        wait_for(text, process.stdout)
        if number:
            process.send_signal(number)
        process.communicate()
        assert process.returncode == code
    expected = digests(tmp_path / "undisturbed")
    assert len(expected) == 8 + 12 and digests(folder) == expected
    logs = [tmp_path / name / "metrics.jsonl" for name in ("undisturbed", "disturbed")]
    assert logs[0].read_bytes() == logs[1].read_bytes()
