"""The proof of exact resume: two equal jobs are equal, a changed one is named."""

import json
import shutil
import subprocess
import sys

import pytest

from dtvg_jax import files, report
from dtvg_jax.jobs import verify_resume

pytestmark = pytest.mark.slow  # two jobs, one of which is killed
TINY = [
    "--gin_file=gin/test/small_job.gin",
    "--gin.job.Job.targets=[]",
    "--gin.job.Job.methods=[]",
    "--gin.job.Job.sources=['sst2']",
]


@pytest.fixture(scope="module")
def verified(cache, tmp_path_factory):
    """A job of one program, killed twice."""
    out = tmp_path_factory.mktemp("verify")
    command = [sys.executable, "-m", "dtvg_jax.verify_resume", f"--out={out}"]
    command += [*TINY, f"--gin.job.Job.cache_dir='{cache}'", "--kills=2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_a_killed_job_ends_as_an_undisturbed_one(verified):
    _, said = verified
    assert "kill 2 of 2 after" in said
    assert said.splitlines()[-3:] == [
        "prompts: 2 of 2 equal",
        "log: equal",
        "scores: equal",
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "differs"),
    [
        ("metrics.jsonl", '"step": 2', '"step": 9', "same_log"),
        ("results.json", '"accuracy": ', '"accuracy": 1', "same_scores"),
    ],
)
def test_what_differs_is_seen(verified, tmp_path, file, old, new, differs):
    folder, _ = verified
    changed = tmp_path / "changed"
    shutil.copytree(folder / "killed", changed)
    content = (changed / file).read_text()
    assert old in content
    (changed / file).write_text(content.replace(old, new))
    if file == report.FILE:
        said = json.loads(content.replace(old, new))
        del said[files.SEAL]
        (changed / file).write_text(json.dumps(files.seal(said)))
    verdict = verify_resume.compare(folder / "undisturbed", changed)
    assert not verdict.same and not getattr(verdict, differs)


def test_a_prompt_that_is_missing_is_named(verified, tmp_path):
    folder, _ = verified
    changed = tmp_path / "changed"
    shutil.copytree(folder / "killed", changed)
    shutil.rmtree(changed / "store" / "sst2" / "stage1-seed1")
    verdict = verify_resume.compare(folder / "undisturbed", changed)
    assert verdict.differing == ["sst2/stage1-seed1"] and verdict.entries == 2
