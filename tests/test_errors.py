"""What users are told: the nearest name, and fields of a wrong type."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from dtvg_jax import errors
from dtvg_jax.errors import InputError


def test_the_nearest_name_is_offered_where_one_is_near():
    assert errors.nearest("stepz", ["warmup", "steps"]) == ": did you mean 'steps'?"
    assert errors.nearest("colour", ["warmup", "steps"]) == ""
    assert errors.nearest(None, ["steps"]) == ""


def test_an_unknown_name_is_told_with_the_known_ones():
    said = str(errors.unknown("method", "dvtg", ("spot", "dtvg")))
    assert said == "unknown method 'dvtg': did you mean 'dtvg'? known are spot, dtvg"
    said = str(errors.unknown("method", "zzz", ("spot", "dtvg")))
    assert said == "unknown method 'zzz': known are spot, dtvg"


class Inner(NamedTuple):
    rate: float = 0.1
    buckets: Sequence[tuple[int, int]] = ((1, 2),)


@dataclasses.dataclass
class Outer:
    steps: int = 1
    names: Sequence[str] = ()
    place: str | None = None
    flag: bool = False
    pair: tuple[int, int] = (1, 2)
    inner: Inner = Inner()
    other: object = None


GOOD = [
    {},
    {"names": ["a", "b"], "place": "x", "flag": True},
    {"inner": Inner(rate=1)},  # a whole number is a number
    {"inner": Inner(buckets=[[1, 2], (3, 4)])},
    {"other": slice(2)},  # only plain types are looked at
]
WRONG = [
    ({"steps": True}, "steps = True: it must be a whole number"),
    ({"steps": 1.0}, "steps = 1.0: it must be a whole number"),
    ({"names": "ab"}, "names = 'ab': it must be a list of texts"),
    ({"names": ["a", 1]}, "names = ['a', 1]: it must be a list of texts"),
    ({"place": 3}, "place = 3: it must be text or None"),
    ({"flag": 1}, "flag = 1: it must be True or False"),
    ({"pair": (1, 2, 3)}, "pair = (1, 2, 3): it must be a list of whole numbers"),
    ({"pair": (1, "a")}, "pair = (1, 'a'): it must be a list of whole numbers"),
    ({"inner": Inner(rate=True)}, "inner.rate = True: it must be a number"),
    ({"inner": Inner(rate="a")}, "inner.rate = 'a': it must be a number"),
    (
        {"inner": Inner(buckets=(1, 2))},
        "inner.buckets = (1, 2): it must be a list",
    ),
]


@pytest.mark.parametrize("fields", GOOD, ids=str)
def test_fields_of_their_types_pass(fields):
    errors.check_field_types(Outer(**fields))


@pytest.mark.parametrize("fields, said", WRONG, ids=[said for _, said in WRONG])
def test_a_field_of_another_type_is_named_with_its_value(fields, said):
    with pytest.raises(InputError) as error:
        errors.check_field_types(Outer(**fields))
    assert str(error.value) == said


def test_what_is_no_record_is_not_looked_at():
    errors.check_field_types(3)
