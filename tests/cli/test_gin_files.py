"""Every gin file: its header gives a command, and that command's settings are right."""

import json
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
import pytest

import gin
from dtvg_jax.cli import command, gin_settings
from dtvg_jax.cli.commands import pretrain, train
from dtvg_jax.errors import InputError
from dtvg_jax.formats import families
from dtvg_jax.jobs import compile_steps, job, plan
from dtvg_jax.models import backbone
from dtvg_jax.pretraining import loop
from dtvg_jax.training import compile_ahead

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("gin/**/*.gin"))
CONFIGURES = {
    "dtvg_jax.train": (train, job.Job),
    "dtvg_jax.pretrain": (pretrain, loop.Pretraining),
}
MINIATURE = ("--gin.BACKBONE='miniature'", "--gin.DATA_DIR='miniature'")
Made: TypeAlias = Callable[..., job.Job]


def header(file: str) -> str:
    """The comment at the top of a file, without its marks, its commands on one line."""
    found = re.match(r"(#.*\n)+", (ROOT / file).read_text())
    assert found, f"{file} does not open with a comment"
    text = re.sub(r"^# ?", "", found[0], flags=re.MULTILINE)
    return re.sub(r"\\\n +", "", text)


@pytest.fixture
def made(monkeypatch) -> Iterator[Made]:
    """Makes the job of flags."""
    monkeypatch.chdir(ROOT)

    def made(*given: str) -> job.Job:
        gin.clear_config()
        command.parse(train.COMMAND, ["train", *given])
        return gin_settings.configure(job.Job, train.GIN)

    yield made
    gin.clear_config()


@pytest.mark.parametrize("file", FILES)
def test_the_command_of_the_header_finds_every_setting(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    [line] = re.findall(r"^ +python -m (dtvg_jax\..*)", header(file), re.MULTILINE)
    module, *given = shlex.split(line)
    called, made = CONFIGURES[module]
    gin.clear_config()
    command.parse(called.COMMAND, [module, *given])
    assert file in called.GIN.files.value
    gin_settings.configure(made, called.GIN)  # refuses what is unknown, wrong or unused
    bindings = re.findall(r"^[\w./]+ =", gin.operative_config_str(), re.MULTILINE)
    gin.clear_config()
    assert len(bindings) <= 60


# Lanes of stage 1 and of each program of stage 2, counted by hand: six sources, the
# targets, and three methods, of which two share a program.
PAPER = {
    "t5_base_sources": [6],
    "t5_base_glue": [10, 8, 4],
    "t5_base_superglue": [11, 10, 5],
    "t5_base_mrqa": [10, 8, 4],
    "t5_base_others": [10, 8, 4],
    "t5_base_generation": [9, 6, 3],
    "t5_base_few_shot_4": [27, 18, 9],
    "t5_base_few_shot_16": [27, 18, 9],
    "t5_base_few_shot_32": [27, 18, 9],
    "t5_base_ablations": [15, 9, 9, 9, 9, 9, 9, 9],
    "llama_3_2_1b": [15, 18, 9],
    "llama_3_2_3b": [15, 18, 9],
}


def test_no_file_of_the_paper_is_left_out():
    assert sorted(PAPER) == sorted(p.stem for p in ROOT.glob("gin/paper/*.gin"))


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("missing", [0, 1])
def test_what_is_required_is_asked_for(made, name, missing):
    what = ("BACKBONE", "DATA_DIR")[missing]
    sentence = rf"gin, line \d+: {what} is required: give --gin\.{what}=VALUE$"
    with pytest.raises(InputError, match=sentence):
        made(f"--gin_file=gin/paper/{name}.gin", MINIATURE[1 - missing])


@pytest.mark.parametrize("name", PAPER)
def test_files_of_the_paper_plan(made, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # files that are included are found from anywhere
    planned = made(f"--gin_file=gin/paper/{name}.gin", *MINIATURE)
    assert [len(one.lanes) for one in plan.programs(planned)] == PAPER[name]
    said = plan.describe(planned)
    assert "prompt length 100" in said and "validated every 1000 steps" in said


@pytest.mark.parametrize("name", ["t5_base_ablations", "llama_3_2_1b"])
def test_files_of_the_paper_compile_ahead_without_the_backbone(made, name, monkeypatch):
    seen: dict[str, Any] = {}

    def compiled(topology, config, steps, dtype, mesh):
        seen.update(config=config, steps=steps)
        return {}

    monkeypatch.setattr(compile_ahead, "compile_steps", compiled)
    given = ("--gin.BACKBONE='nowhere'", "--gin.DATA_DIR='nowhere'")
    compile_steps.compile_steps(
        made(f"--gin_file=gin/paper/{name}.gin", *given), "v5e:2x4"
    )
    assert [step.shapes.lanes for step in seen["steps"].values()] == PAPER[name]
    widths = {"t5_base_ablations": (768, 512), "llama_3_2_1b": (2048, 256)}
    shapes = backbone.param_shapes(seen["config"])
    longest = max(step.shapes.inputs_length for step in seen["steps"].values())
    assert (shapes["token_embedder"]["embedding"].shape[1], longest) == widths[name]


SIZES = r"([\d,]+) parameters: ([\d.]+) GB in (float32|bfloat16)\."


# The two that the others include name no model.
OF_ALL = ("gin/models/t5.gin", "gin/models/decoder_only.gin")
MODELS = [f for f in FILES if f.startswith("gin/models/") and f not in OF_ALL]


@pytest.mark.parametrize("file", MODELS)
def test_a_model_has_the_published_number_of_parameters(made, file):
    given = (f"--gin_file={file}", "--gin_file=gin/prompts/sources.gin", *MINIATURE)
    said = made(*given)
    assert said.config is not None
    shapes = backbone.param_shapes(families.of(said.config, "").published(said.config))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    [(number, size, dtype)] = re.findall(SIZES, header(file))
    assert (f"{count:,}", said.dtype) == (number, dtype)
    assert f"{count * (4 if dtype == 'float32' else 2) / 1e9:.2f}" == size


SHORT = [
    "--gin.stages.Stage.batch_size=2",
    "--gin.stage1/stages.Stage.batch_size=2",
    "--gin.stages.Stage.warmup=0",
    "--gin.stage1/stages.Stage.steps=20",
    "--gin.stage1/stages.Stage.target_steps=20",
    "--gin.stage2/stages.Stage.steps=20",
    "--gin.job.Job.validation_rows=8",
    "--gin.job.Job.test_rows=8",
]


# One of each kind.
KINDS = ["t5_base_glue", "t5_base_mrqa", "t5_base_generation"]
KINDS += ["t5_base_few_shot_4", "t5_base_ablations", "llama_3_2_1b"]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_the_paper_runs_on_the_miniature(name, cache, tmp_path):
    # In a process of its own, with one device as a user's: XLA's collectives of two
    # simulated ones can wait for each other where many microbatches are in flight.
    given = [f"--gin_file=gin/paper/{name}.gin", *MINIATURE, *SHORT]
    given += [f"--gin.job.Job.cache_dir='{cache}'", f"--job_dir={tmp_path}"]
    line = [sys.executable, "-m", "dtvg_jax.train", *given]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert len(rows) == sum(PAPER[name]) and not any(row["failed"] for row in rows)
