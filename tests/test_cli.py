"""The command line: sentences for mistakes, exit codes, a job that is killed."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SMALL = "gin/test/small_job.gin"
BOUND = "--gin.stage1/stages.Stage."


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "dtvg_jax.train", *flags]


def start(*flags: str, **options) -> subprocess.Popen:
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command(*flags), cwd=ROOT, env=environment, text=True, **options
    )


def run(*flags: str) -> tuple[int, str, str]:
    process = start(*flags, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate()
    return process.returncode, out, err


MISTAKES = {
    "no gin file": ([], "no settings: give --gin_file=FILE"),
    "missing file": (
        ["--gin_file=gin/test/smal_job.gin"],
        "no gin file gin/test/smal_job.gin: did you mean 'small_job.gin'?",
    ),
    "parameter": (
        [f"--gin_file={SMALL}", BOUND + "stepz=3"],
        "stages.Stage has no setting 'stepz': did you mean 'steps'?",
    ),
    "class": (
        [f"--gin_file={SMALL}", "--gin.job.Jobs.seeds=[1]"],
        "there is nothing called 'job.Jobs': did you mean 'job.Job'?",
    ),
    "scope": (
        [f"--gin_file={SMALL}", "--gin.stage3/stages.Stage.steps=3"],
        "stage3/stages.Stage.steps is set but nothing reads it: did you mean",
    ),
    "macro": ([f"--gin_file={SMALL}", "--gin.job.Job.seeds=%SEEDS"], "macro SEEDS is"),
    "no value": ([f"--gin_file={SMALL}", BOUND + "steps="], "Unable to parse value"),
    "value": ([f"--gin_file={SMALL}", BOUND + "steps='a'"], "stage1: steps = 'a': it"),
    "task": (
        [f"--gin_file={SMALL}", "--gin.job.Job.targets=['rtee']"],
        "unknown task 'rtee': did you mean 'rte'?",
    ),
    "flag": ([f"--gin_file={SMALL}", "--jobdir=x"], "Did you mean: job_dir"),
    "word": ([f"--gin_file={SMALL}", "x"], "'x' is no flag"),
    "no folder": ([f"--gin_file={SMALL}"], "no folder for the job: give --job_dir=DIR"),
    "no slice": ([f"--gin_file={SMALL}", "--compile_only"], "needs --topology"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(name):
    flags, sentence = MISTAKES[name]
    code, out, err = run(*flags)
    assert code == 2 and out == ""
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert sentence in line and "Traceback" not in err


def test_a_missing_setting_is_named(tmp_path):
    text = (ROOT / SMALL).read_text().replace("job.Job.backbone =", "# ")
    (tmp_path / "part.gin").write_text(text)
    code, _, err = run(f"--gin_file={tmp_path}/part.gin", "--dry_run")
    assert code == 2 and "Job needs 'backbone'" in err


def test_a_dry_run_shows_the_plan_and_writes_nothing(tmp_path):
    folder = tmp_path / "job"
    flags = (f"--gin_file={SMALL}", f"--job_dir={folder}", "--dry_run")
    code, out, _ = run(*flags)
    assert code == 0 and not folder.exists()
    assert "stage1: 8 lanes of 4 rows, 12 steps, validated every 4" in out
    assert "stage2-prompt_tuning-spot: 8 lanes" in out and "mrpc by spot" in out


def digests(folder: pathlib.Path) -> dict[str, str]:
    return {
        str(path.parent.relative_to(folder)): json.loads(path.read_text())["files"]
        for path in folder.glob("store/*/*/entry.json")
    }


def wait_for(text: str, process: subprocess.Popen) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(text):
            return
    raise AssertionError("the job ended before it could be disturbed")


def test_a_killed_and_a_terminated_job_end_with_the_same_prompts(cache, tmp_path):
    flags = (f"--gin_file={SMALL}", f"--gin.job.Job.cache_dir='{cache}'")
    code, out, err = run(*flags, f"--job_dir={tmp_path / 'undisturbed'}")
    assert code == 0, err
    assert "Targets" in out and "results.md" in out
    folder = tmp_path / "disturbed"
    ways = [
        ("stage1  step", signal.SIGKILL, -signal.SIGKILL),
        ("stage1  step", signal.SIGTERM, 128 + signal.SIGTERM),
        ("stage2-dtvg  step", signal.SIGKILL, -signal.SIGKILL),
        ("stage2-dtvg  step", signal.SIGINT, 128 + signal.SIGINT),
    ]
    for text, number, expected in ways:
        process = start(*flags, f"--job_dir={folder}", stdout=subprocess.PIPE)
        wait_for(text, process)
        process.send_signal(number)
        process.communicate()
        assert process.returncode == expected
    second = start(*flags, f"--job_dir={folder}", stdout=subprocess.PIPE)
    second.communicate()
    assert second.returncode == 0
    undisturbed = digests(tmp_path / "undisturbed")
    assert len(undisturbed) == 8 + 12 and digests(folder) == undisturbed
    logs = [(tmp_path / n / "metrics.jsonl") for n in ("undisturbed", "disturbed")]
    assert logs[0].read_bytes() == logs[1].read_bytes()
