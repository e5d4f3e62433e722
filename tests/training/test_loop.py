"""The training loop: what it leaves behind when it is interrupted, and how it resumes.

A whole job is interrupted in tests/jobs/test_job.py.
"""

import json
import pathlib
from collections.abc import Callable, Sequence

import fake_table
import jax
import numpy as np
import pytest
import test_lanes

from dtvg_jax import methods
from dtvg_jax.data import microbatches
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.methods.row_prompts import Prompts
from dtvg_jax.training import (
    lanes,
    loop,
    metrics_log,
    placement,
    programs,
    stages,
    utilisation,
    validation,
)
from dtvg_jax.training.runs import Lane, Run

STAGE = stages.Stage(
    steps=9,
    learning_rate=0.1,
    warmup=0,
    batch_size=4,
    validate_every=4,
    log_every=2,
    optimiser="adamw_stage2",
)
RATES = methods.by_name("dtvg").rates(STAGE.learning_rate)
LANES = [
    Lane(Run(2, task, "dtvg", seed), 9 - seed, 0, RATES)
    for seed in (0, 1)
    for task in "ab"
]


@pytest.fixture(scope="module")
def tables(cache, tmp_path_factory) -> dict[str, TokenTable]:
    """A table of digits for each task; compiled programs are kept in `cache`."""
    del cache
    folder = tmp_path_factory.mktemp("tables")
    return {
        task: fake_table.make(
            folder / task, fake_table.rows(10), lengths=(6, 2), task=task
        )
        for task in "ab"
    }


def score(prompts: Prompts, due: Sequence[int]) -> loop.Scores:
    """Any function of the prompts will do."""
    sums = np.abs(np.asarray(prompts.arrays)).sum(axis=(1, 2))
    return [{"mean": float(sums[k]) % 7} for k in due]


def train(
    folder: pathlib.Path,
    tables: dict[str, TokenTable],
    check: Callable[[], None] = lambda: None,
    validate: loop.Validate = score,
    context: lanes.LaneContexts | None = None,
    given: Sequence[Lane] = LANES,
    halve_at: Sequence[int] = (),
) -> loop.Trained:
    training = programs.Training(
        name="stage2-dtvg",
        method=methods.by_name("dtvg"),
        stage=STAGE,
        lanes=given,
        context=context or test_lanes.context(),
        tables=[tables[lane.run.task] for lane in given],
        sources=("x", "y", "z"),
        halve_at=halve_at,
    )
    with metrics_log.MetricsLog(folder) as log:
        return loop.train(
            training=training,
            backbone=test_lanes.backbone(),
            validate=validate,
            folder=folder / "checkpoints",
            log=log,
            placement=placement.make(),
            check=check,
        )


@pytest.fixture(scope="module")
def undisturbed(tables, tmp_path_factory) -> tuple[loop.Trained, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return train(folder, tables), (folder / metrics_log.FILE).read_bytes()


def raising(error: BaseException, call: int, then: Callable = lambda *_: None):
    """A function that raises when it is called so often; else it does `then`."""
    made = 0

    def function(*arguments):
        nonlocal made
        made += 1
        if made == call:
            raise error
        return then(*arguments)

    return function


def saved_steps(folder: pathlib.Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())


def check_resumes(
    folder: pathlib.Path,
    tables: dict[str, TokenTable],
    undisturbed: tuple[loop.Trained, bytes],
) -> None:
    trained, log = undisturbed
    resumed = train(folder, tables)
    jax.tree.map(np.testing.assert_array_equal, resumed.best, trained.best)
    assert resumed.scores == trained.scores
    assert (folder / metrics_log.FILE).read_bytes() == log


@pytest.mark.parametrize(
    ("error", "call"),
    [(KeyboardInterrupt(), 3), (RuntimeError("no room"), 6)],
    ids=["interrupted where a step is logged", "failed between"],
)
def test_what_a_check_raises_goes_on_after_the_state_is_saved(
    tmp_path, tables, undisturbed, error, call
):
    with pytest.raises(type(error)) as raised:
        train(tmp_path, tables, check=raising(error, call))
    assert raised.value is error
    assert saved_steps(tmp_path)[-1] == call - 1  # steps done before that check
    check_resumes(tmp_path, tables, undisturbed)


@pytest.mark.parametrize(("call", "step"), [(1, 0), (2, 4), (4, 9)])
def test_what_a_validation_raises_goes_on_after_the_state_is_saved(
    tmp_path, tables, undisturbed, call, step
):
    error = ValueError("a metric failed")
    with pytest.raises(ValueError, match="a metric failed"):
        train(tmp_path, tables, validate=raising(error, call, score))
    assert saved_steps(tmp_path)[-1] == step
    check_resumes(tmp_path, tables, undisturbed)


def recorded(monkeypatch, then: Callable[..., list]) -> list[tuple[int, list[int]]]:
    """Records the step and the running lanes of all microbatches that are made."""
    seen = []

    def make(streams, running, at, *rest):
        seen.append((at, running))
        return then(streams, running, at, *rest)

    monkeypatch.setattr(microbatches, "make", make)
    return seen


def test_lanes_that_are_done_or_dead_get_no_rows(tmp_path, tables, monkeypatch):
    seen = recorded(monkeypatch, microbatches.make)
    context = test_lanes.context()
    dead = context._replace(start=context.start.at[0].set(np.nan))
    trained = train(tmp_path, tables, context=dead)
    assert trained.alive.tolist() == [False, True, True, True]
    # Lane 0 fails at once and is left out from the validation at step 4 on; lanes 2
    # and 3, of seed 1, end after 8 steps.
    expected = [[0, 1, 2, 3]] * 4 + [[1, 2, 3]] * 4 + [[1]]
    assert seen == list(enumerate(expected))
    # A lane that was never validated has the score of where it began.
    np.testing.assert_equal(list(trained.scores), score(trained.prompts, range(4)))


def test_what_a_dead_lane_is_given_is_resumed(tmp_path, tables, monkeypatch):
    context = test_lanes.context()
    dead = context._replace(start=context.start.at[0].set(np.nan))
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = train(tmp_path / "whole", tables, context=dead)
    seen = recorded(monkeypatch, microbatches.make)
    for call in (3, 4):  # dead already, before the first validation and after it
        with pytest.raises(KeyboardInterrupt):
            stop = raising(KeyboardInterrupt(), call)
            train(tmp_path / "cut", tables, check=stop, context=dead)
    resumed = train(tmp_path / "cut", tables, context=dead)
    jax.tree.map(np.testing.assert_array_equal, resumed.best, whole.best)
    assert dict(seen)[3] == [0, 1, 2, 3] and dict(seen)[5] == [1, 2, 3]


def test_the_last_validation_is_not_repeated(tmp_path, tables):
    steps = []

    def validate(prompts: Prompts, due: Sequence[int]) -> loop.Scores:
        steps.append(due)
        return score(prompts, due)

    trained = train(tmp_path, tables, validate=validate)
    # At 0, 4, 8 and 9; the lanes of seed 1 end at 8.
    assert steps == [[0, 1, 2, 3]] * 4
    assert list(trained.scores) == score(trained.prompts, range(4))


def test_a_lane_that_has_ended_is_validated_once_more(tmp_path, tables):
    asked = []

    def validate(prompts: Prompts, due: Sequence[int]) -> loop.Scores:
        asked.append(list(due))
        return score(prompts, due)

    ends = [
        lane._replace(steps=steps)
        for lane, steps in zip(LANES, (1, 4, 5, 9), strict=True)
    ]
    train(tmp_path, tables, validate=validate, given=ends)
    assert asked == [[0, 1, 2, 3], [0, 1, 2, 3], [2, 3], [3]]  # at 0, 4, 8, 9


def test_step_0_of_stage_2_is_logged_with_its_group(undisturbed):
    records = [json.loads(line) for line in undisturbed[1].splitlines()]
    first = [one for one in records if one["kind"] == "validation"][:4]
    assert [one["step"] for one in first] == [0] * 4
    assert all(len(one["group"]) == len(one["sources"]) == 3 for one in first)


# Two settings with two seeds each; by the first seed alone, v would be the better one.
SETTINGS = [
    Lane(Run(2, "a", "dtvg", seed, variant), 9, 0, RATES)
    for seed in (0, 1)
    for variant in "uv"
]
MADE_UP = [1.0, 2.0, 3.0, 0.0]


def test_the_worse_half_of_settings_stops(tmp_path, tables, monkeypatch):
    asked, seen = [], recorded(monkeypatch, microbatches.make)

    def validate(_, due: Sequence[int]) -> loop.Scores:
        asked.append(list(due))
        return [{"mean": MADE_UP[k]} for k in due]

    given = {"given": SETTINGS, "halve_at": (4,), "validate": validate}
    trained = train(tmp_path, tables, **given)
    assert trained.stopped == (None, 4, None, 4)
    assert trained.alive.all()  # to be stopped is not to fail
    assert [one["mean"] for one in trained.scores] == MADE_UP
    assert seen == list(enumerate([[0, 1, 2, 3]] * 4 + [[0, 2]] * 5))
    assert asked == [[0, 1, 2, 3]] * 2 + [[0, 2]] * 2  # at 0, 4, 8, 9
    records = metrics_log.read(tmp_path / metrics_log.FILE)
    assert max(one.step for one in records if one.variant == "v") == 4
    assert {one.step for one in records if one.variant == "u"} == {0, 2, 4, 6, 8, 9}


@pytest.fixture(scope="module")
def halved(tables, tmp_path_factory) -> tuple[loop.Trained, bytes]:
    folder = tmp_path_factory.mktemp("halved")
    trained = train(folder, tables, given=SETTINGS, halve_at=(4,))
    return trained, (folder / metrics_log.FILE).read_bytes()


@pytest.mark.parametrize(
    "call", [7, *(pytest.param(call, marks=pytest.mark.slow) for call in (4, 5))]
)
def test_a_halving_is_resumed(tmp_path, tables, halved, call):
    trained, log = halved
    given = {"given": SETTINGS, "halve_at": (4,)}
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, tables, check=raising(KeyboardInterrupt(), call), **given)
    resumed = train(tmp_path, tables, **given)
    assert sorted(map(str, trained.stopped)) == ["4", "4", "None", "None"]
    assert resumed.stopped == trained.stopped
    jax.tree.map(np.testing.assert_array_equal, resumed.best, trained.best)
    assert (tmp_path / metrics_log.FILE).read_bytes() == log


def of_lanes(tables: dict[str, TokenTable], given: list[Lane]) -> programs.Training:
    """What a program is made of, for functions that look at its lanes only."""
    opened = [tables[lane.run.task] for lane in given]
    made = (methods.by_name("dtvg"), STAGE, given, test_lanes.context(), opened, ())
    return programs.Training("stage2-dtvg", *made)


@pytest.mark.parametrize(
    ("best", "last", "alive", "before", "after"),
    [
        ((1, 2, 3, 0), (0, 9, 0, 9), "yyyy", (None,) * 4, (None, 8, None, 8)),
        ((1, 1, 1, 1), (0, 9, 0, 9), "yyyy", (None,) * 4, (8, None, 8, None)),
        ((1, 1, 1, 1), (1, 1, 1, 1), "yyyy", (None,) * 4, (None, 8, None, 8)),
        ((9, 1, 9, 1), (9, 1, 9, 1), "nyyy", (None,) * 4, (8, None, 8, None)),
        ((None, 0, 9, 0), (9, 0, 9, 0), "yyyy", (None,) * 4, (8, None, 8, None)),
        ((1, 2, 1, 2), (1, 2, 1, 2), "yyyy", (4, None, 4, None), (4, None, 4, None)),
    ],
    ids=["mean", "tie by last", "tie", "dead", "never validated", "one is left"],
)
def test_settings_are_halved(tables, best, last, alive, before, after):
    scores = tuple({} if one is None else {"mean": float(one)} for one in best)
    living = tuple(one == "y" for one in alive)
    validated = validation.Validated(8, living, scores, before)
    seen = {k: {"mean": float(one)} for k, one in enumerate(last)}
    training = of_lanes(tables, SETTINGS)
    assert validation.halve(training, validated, seen).stopped == after


def test_lanes_have_warm_ups_of_their_own(tables):
    given = [lane._replace(warmup=k) for k, lane in enumerate(LANES)]
    training = of_lanes(tables, given)
    assert programs.fixed(training).rates.warmup.tolist() == [0, 1, 2, 3]


def test_tensorboard_has_the_share_of_the_peak(tmp_path, tables, monkeypatch):
    peak = utilisation.Peak(bfloat16=1.0, float32=1e12)
    monkeypatch.setattr(utilisation, "_PEAKS", {"cpu": peak})
    monkeypatch.setattr(utilisation, "memory_gb", lambda devices: len(devices) + 0.5)
    points = []

    def note(log, program, step, values):
        points.append({name.partition("/")[2]: x for name, x in values.items()})

    monkeypatch.setattr(metrics_log.MetricsLog, "write_curves", note)
    train(tmp_path, tables)
    seen = [values for values in points if "mfu" in values]
    assert seen and {values["memory_gb"] for values in seen} == {2.5}
    # Of each token with its share of the prompt: more than two operations for each
    # weight of a decoder layer, fewer than eight for each of the model.
    for values in seen:
        each = values["mfu"] * 2e12 / values["tokens_per_second"]
        assert 2 * 2_304 < each < 8 * 20_000, values
