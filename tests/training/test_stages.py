"""The settings of a stage are checked where they are made, from Python too."""

import dataclasses

import pytest

from dtvg_jax.errors import InputError
from dtvg_jax.training.stages import Stage, reference_stage1, reference_stage2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, "steps = 0: it must be a whole number of at least 1"),
        ({"steps": True}, "steps = True: it must be a whole number of at least 1"),
        ({"steps": 2.5}, "steps = 2.5: it must be a whole number of at least 1"),
        (
            {"target_steps": 0},
            "target_steps = 0: it must be a whole number of at least 1",
        ),
        ({"warmup": -1}, "warmup = -1: it must be a whole number of at least 0"),
        (
            {"learning_rate": "a"},
            "learning_rate = 'a': it must be a number of at least 0",
        ),
        (
            {"learning_rate": True},
            "learning_rate = True: it must be a number of at least 0",
        ),
        ({"learning_rate": float("inf")}, "learning_rate = inf: it must be a number"),
        ({"dropout": 3}, "dropout = 3: it must be True or False"),
        ({"optimiser": 3}, "optimiser = 3: it must be text"),
        ({"optimiser": "adam"}, "unknown optimiser 'adam': known are adamw_stage1,"),
    ],
)
def test_a_setting_that_cannot_be_is_a_sentence(change, sentence):
    settings = {"steps": 3, "learning_rate": 0.1, "warmup": 0} | change
    with pytest.raises(InputError) as error:
        Stage(**settings)
    assert str(error.value).startswith(sentence)


def test_the_reference_differs_between_stages_in_its_optimiser_only():
    """Script settings of the released code: batch 16, warm-up 500, every 1,000."""
    first, second = (
        make(steps=30_000, learning_rate=1e-3)
        for make in (reference_stage1, reference_stage2)
    )
    assert first == Stage(
        steps=30_000, learning_rate=1e-3, batch_size=16, warmup=500,
        optimiser="adamw_stage1", dropout=True, validate_every=1000,
    )  # fmt: skip
    assert second == dataclasses.replace(first, optimiser="adamw_stage2")


def test_settings_that_can_be():
    made = Stage(steps=3, learning_rate=1, warmup=2)
    assert made.target_steps is None and made.dropout
