"""The plots: which there are, and that missing numbers break none."""

import fake_job
import matplotlib
import pytest
from fake_job import grouped, small, written
from matplotlib.image import imread

from dtvg_jax import files, report
from dtvg_jax.report import figures
from dtvg_jax.report.records import JobFacts
from dtvg_jax.training.metrics_log import TrainRecord


def test_the_plots_of_a_stage_have_a_block_each():
    job = small_job()
    records = [train(stage, seed) for stage in (1, 2) for seed in (0, 1)]
    blocks = figures.losses(job, records).subfigs
    titles = [block.get_suptitle() for block in blocks]
    assert titles == [
        "Stage 1, task prompts: training loss by step",
        "Stage 2, targets: training loss by step",
    ]
    [axes] = blocks[0].axes
    assert len(axes.lines) == 3  # two seeds and their mean


def small_job():
    return files.record(JobFacts, small()["job"], "job")


def train(stage, seed):
    # The program's name says another stage: only the field counts.
    return TrainRecord(
        program="stage9-x", lane="a", stage=stage, task="mrpc", method="dtvg",
        seed=seed, step=10, loss=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options, plots",
    [
        ({}, ["consistency", "groups", "losses", "similarity"]),
        ({"methods": ("prompt_tuning",)}, ["losses", "similarity"]),
        (
            {"methods": ("dtvg", "all_sources"), "seeds": (3,), "targets": ["mrpc"]},
            ["consistency", "consistency-all_sources", "groups", "groups-all_sources",
             "losses", "similarity"],
        ),
        (
            {"sources": ["qnli", "mrpc"], "targets": ["mrpc"], "steps": 10},
            ["consistency", "groups", "losses", "similarity"],
        ),
    ],
    ids=["full", "prompt tuning", "two grouping methods", "a source that is a target"],
)  # fmt: skip
def test_plots_are_drawn_without_touching_matplotlib(tmp_path, options, plots):
    folder = fake_job.full(tmp_path / "job", **options)
    before = dict(matplotlib.rcParams)
    report.write(folder)
    assert dict(matplotlib.rcParams) == before
    assert sorted(path.stem for path in (folder / "plots").iterdir()) == plots
    for path in (folder / "plots").iterdir():
        image = imread(path)
        assert image.std() > 0.05, f"{path.name} is blank"
        assert f"`plots/{path.name}`" in (folder / "results.md").read_text()


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    folder = fake_job.full(tmp_path / "job", targets=["mrpc"], sources=["qnli"])

    def contents():
        report.write(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in files}

    assert contents() == contents()


def test_missing_losses_leave_gaps_and_not_errors(tmp_path):
    records = [grouped(10, 0, [0, 0]), grouped(20, 0, [1, 0]), grouped(10, 1, [1, 1])]
    records[1]["loss"] = None
    for record in records[2:]:
        record["loss"] = None
    written(tmp_path, small(), records)
