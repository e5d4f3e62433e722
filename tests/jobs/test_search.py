"""A search: its plan, what is refused, and a small one that is halved and resumed."""

import dataclasses
import json
import pathlib

import fake_training
import pytest
import tiny_job

from dtvg_jax import files
from dtvg_jax.errors import InputError, Stopped
from dtvg_jax.jobs import choice, job, job_folder, pipeline, plan, search, testing
from dtvg_jax.methods import dtvg
from dtvg_jax.report.records import TrialRow
from dtvg_jax.store import entries, prompt_store
from dtvg_jax.store.entries import Metadata
from dtvg_jax.training import loop, metrics_log
from dtvg_jax.training.runs import Run, Trial
from dtvg_jax.training.stages import Stage

STAGE = Stage(
    steps=6, learning_rate=0.1, batch_size=4, warmup=1, validate_every=2, log_every=2
)
RATES = [0.05, 0.2]
VARIANTS = [
    dtvg.Grouped(source_scale_rate=0.01, variant="slow"),
    dtvg.Grouped(source_scale_rate=0.1, variant="fast"),
]
HALVED = search.Search(RATES, rates_of={"prompt_tuning": [0, 1, 2, 3]}, halve_at=[2, 4])


@pytest.fixture(scope="module")
def small(cache) -> job.Job:
    """Four settings of two methods on one target, with two seeds."""
    return dataclasses.replace(
        tiny_job.make(cache),
        sources=["sst2"],
        targets=["superglue-cb"],
        methods=["prompt_tuning", *VARIANTS],
        search=HALVED,
        seeds=[0, 1],
        stage1=STAGE,
        stage2=STAGE,
    )


def test_the_lanes_of_a_search(small):
    searched = dataclasses.replace(HALVED, warmups=[0, 2])
    changed = dataclasses.replace(small, search=searched)
    _, tuned, grouped = plan.programs(changed)
    assert (len(tuned.lanes), len(grouped.lanes)) == (4 * 2 * 2, 2 * 2 * 2 * 2)
    assert len({run.name for run in grouped.runs}) == 16
    assert [lane.run.name for lane in grouped.lanes[:5]] == [
        "superglue-cb/dtvg+slow@0.05w0/seed0",
        "superglue-cb/dtvg+slow@0.05w2/seed0",
        "superglue-cb/dtvg+slow@0.2w0/seed0",
        "superglue-cb/dtvg+slow@0.2w2/seed0",
        "superglue-cb/dtvg+fast@0.05w0/seed0",
    ]
    lane = grouped.lanes[7]
    assert lane.run == Run(2, "superglue-cb", "dtvg", 0, "fast", Trial(0.2, 2))
    assert (lane.warmup, lane.steps) == (2, 6)
    assert lane.rates == {"prompt": 0.2, "target_scale": 0.2, "source_scales": 0.1}
    assert str(entries.name_of(lane.run)) == "superglue-cb/dtvg+fast@0.2w2-seed0"
    assert plan.method_of(changed, lane.run) == VARIANTS[1]


def test_a_dry_run_shows_the_trials(small):
    said = plan.describe(small).splitlines()
    assert (
        "search: 4 settings of each method on each target, chosen by validation, "
        "halved at step 2, 4" in said
    )
    assert said[-4:] == [
        f"  dtvg+{variant}@{rate}, 6 steps: superglue-cb"
        for variant in ("slow", "fast")
        for rate in RATES
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"rates_of": {}},
            "a search gives every method as many trials, but here they have "
            "prompt_tuning 2, dtvg 4",
        ),
        ({"rates_of": {"dtgv": [1]}}, "unknown method in search.rates_of 'dtgv': did"),
        ({"learning_rates": []}, "search has an empty list of rates"),
        ({"learning_rates": [0.1, 0.1]}, "a list of rates of search names 0.1 twice"),
        (
            {"learning_rates": [0.1, -1]},
            "search.learning_rates = .*: it must be a list of numbers of at least 0",
        ),
        ({"warmups": [6]}, "search.warmups has 6: it must be less than the 6 steps"),
        ({"halve_at": [3]}, "search.halve_at has 3: .* a multiple of 2 below 6"),
        ({"halve_at": [6]}, "search.halve_at has 6: "),
    ],
)
def test_a_search_that_cannot_be_is_a_sentence(small, change, sentence):
    with pytest.raises(InputError, match=sentence):
        dataclasses.replace(small, search=dataclasses.replace(HALVED, **change))


def test_a_job_without_stage_2_has_no_search(small):
    with pytest.raises(InputError, match="without targets or methods has no stage 2"):
        dataclasses.replace(small, targets=[])


def test_the_best_setting_is_chosen_for_all_seeds():
    scores = {(0.1, 0): 90.0, (0.1, 1): 10.0, (0.2, 0): 60.0, (0.2, 1): 50.0}
    learned = {
        Run(2, "rte", "spot", seed, "", Trial(rate)): Metadata(
            "rte", "spot", seed, trial=Trial(rate), metrics={"mean": score}, step=7
        )
        for (rate, seed), score in scores.items()
    }
    plain = {Run(2, "rte", "dtvg", 0): Metadata("rte", "dtvg", 0)}
    rows = choice.tried(learned | plain)
    chosen = [(row.trial.rate, row.seed) for row in rows if row.chosen]
    assert len(rows) == 4 and chosen == [(0.2, 0), (0.2, 1)]
    assert rows[2].entry == "store/rte/spot@0.2-seed0"


def test_of_equal_settings_the_one_trained_longest_is_chosen():
    learned = {
        Run(2, "rte", "spot", 0, "", Trial(rate)): Metadata(
            "rte", "spot", 0, trial=Trial(rate), metrics={"mean": 50.0}, stopped=stopped
        )
        for rate, stopped in ((0.1, 2), (0.2, None), (0.3, 4), (0.4, None))
    }
    chosen = [row.trial.rate for row in choice.tried(learned) if row.chosen]
    assert chosen == [0.2]


def results(folder: pathlib.Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_all_trials_are_kept_and_the_chosen_are_tested(small, tmp_path, monkeypatch):
    made_up = {0.0: 1.0, 1.0: 2.0, 2.0: 4.0, 3.0: 3.0, 0.05: 5.0, 0.2: 6.0}

    def train(training, **_):
        # Of the two variants with the best rate, the first is chosen.
        return fake_training.train(
            training, lambda run: made_up[run.trial.rate] if run.trial else 0.0
        )

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(testing.Evaluator, "predict", fake_training.predict)
    made = pipeline.run(small, tmp_path)
    found = results(tmp_path)
    runs = [lane.run for one in plan.programs(small)[1:] for lane in one.lanes]
    trials = [f"store/{entries.name_of(run)}" for run in runs]
    assert [one["entry"] for one in found["trials"]] == trials
    chosen = [
        f"store/superglue-cb/{setting}-seed{seed}"
        for setting in ("prompt_tuning@2.0", "dtvg+slow@0.2")
        for seed in (0, 1)
    ]
    assert [one["entry"] for one in found["trials"] if one["chosen"]] == chosen
    rows = found["rows"]
    assert [row["entry"] for row in rows if row["stage"] == 2] == chosen
    assert len(list((tmp_path / "predictions").iterdir())) == 2 * 2 + len(chosen)
    assert [one.method for one in made.summary.table if one.stage == 2] == [
        "prompt_tuning",
        "dtvg",
    ]
    assert found["failed"] == []
    assert set(found["job"]["costs"]) == {"prompt_tuning", "dtvg"}
    # A resumed job chooses and tests nothing anew.
    monkeypatch.delattr(testing.Evaluator, "predict")
    assert pipeline.run(small, tmp_path).results == made.results


def test_a_changed_search_is_refused(small, tmp_path):
    was, now = (
        job_folder.planned(dataclasses.replace(small, search=one), (), {})
        for one in (HALVED, dataclasses.replace(HALVED, halve_at=[2]))
    )
    files.write_json(tmp_path / "plan.json", was | {"splits": {}})
    job_folder.check_plan(tmp_path, was)
    with pytest.raises(InputError, match=r"search.halve_at was \[2, 4\], is \[2\]"):
        job_folder.check_plan(tmp_path, now)


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory) -> tuple[pathlib.Path, int]:
    """The folder of an undisturbed search, and how often it could have been stopped."""
    folder = tmp_path_factory.mktemp("searches") / "undisturbed"
    calls = []
    pipeline.run(small, folder, check=lambda: calls.append(1))
    return folder, len(calls)


@pytest.mark.slow
def test_half_of_the_settings_go_on_at_each_halving(finished):
    folder, _ = finished
    trials = results(folder)["trials"]
    for method in ("prompt_tuning", "dtvg"):
        ours = [
            files.record(TrialRow, one, "trial")
            for one in trials
            if one["method"] == method
        ]
        ends = sorted(one.stopped or STAGE.steps for one in ours)
        assert ends == [2] * 4 + [4] * 2 + [6] * 2
        steps: dict[str, list[int]] = {one["entry"]: [] for one in trials}
        for record in metrics_log.read(folder / "metrics.jsonl"):
            if isinstance(record, metrics_log.ValidationRecord) and record.stage == 2:
                steps[f"store/{entries.name_of(record.run)}"].append(record.step)
        for one in ours:
            assert steps[one.entry][-1] == (one.stopped or STAGE.steps)
        # The best is never stopped: halving and choice compare the same scores.
        assert all(one.stopped is None for one in ours if one.chosen)
        means = [one.validation["mean"] for one in ours]
        best = max(zip(means[:4], means[4:], strict=True), key=sum)
        assert [one.validation["mean"] for one in ours if one.chosen] == list(best)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.6, 0.7, 0.8, 0.9])
def test_a_stopped_search_goes_on_to_the_same_choice(small, finished, tmp_path, share):
    (folder, calls), made = finished, 0

    def stop():
        nonlocal made
        made += 1
        if made == int(share * calls):
            raise Stopped

    with pytest.raises(Stopped):
        pipeline.run(small, tmp_path, check=stop)
    pipeline.run(small, tmp_path)
    log = (tmp_path / "metrics.jsonl").read_bytes()
    assert log == (folder / "metrics.jsonl").read_bytes()
    for name in ("rows", "trials", "settings"):
        assert results(tmp_path)[name] == results(folder)[name]
    stores = [prompt_store.PromptStore(one / "store") for one in (tmp_path, folder)]
    names = stores[0].names()
    digests = [[one.read(name).metadata.files for name in names] for one in stores]
    assert digests[0] == digests[1] and names == stores[1].names()
