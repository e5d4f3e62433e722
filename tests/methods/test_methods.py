"""Prompt methods: what they train, and when DTVG's variants choose their group."""

import contextlib
import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax import methods
from dtvg_jax.errors import InputError
from dtvg_jax.methods import dtvg

S, P, H = 4, 3, 6
PLAIN = ("prompt_tuning", "from_p_init", "spot", "best_source")
GROUPED = [
    name for name, one in methods.METHODS.items() if isinstance(one, dtvg.Grouped)
]


def context(seed: int = 0) -> methods.Context:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return methods.Context(
        normal(P, H),
        normal(S, P, H),
        normal(P, H),
        jnp.ones(S, bool),
        jnp.uint32(seed),
    )


def run(name: str, steps: int) -> list[tuple[int, ...]]:
    """Moves the prompt to and fro, so that groups change; gives each step's group."""
    here, (init, prompt) = context(), compiled(name)
    trainables, method_state = init(here)
    groups = []
    for step in range(steps):
        moved = context(1 + step % 7).start
        trainables = trainables | {"prompt": moved}
        _, method_state, seen = prompt(trainables, method_state, here, jnp.array(step))
        groups.append(tuple(np.asarray(seen["group"]).astype(int).tolist()))
    return groups


@functools.cache
def compiled(name: str):
    method = methods.by_name(name)
    return jax.jit(method.init), jax.jit(method.prompt)


def first_group(name: str, here: methods.Context) -> np.ndarray:
    init, prompt = compiled(name)
    return np.asarray(prompt(*init(here), here, jnp.array(0))[2]["group"])


@pytest.mark.parametrize("name", methods.METHODS)
def test_what_is_trained_and_made(name):
    here, (init, prompt_of) = context(), compiled(name)
    trainables, method_state = init(here)
    prompt, again, diagnostics = prompt_of(trainables, method_state, here, jnp.array(0))
    assert prompt.shape == (P, H)
    assert jax.tree.structure(again) == jax.tree.structure(method_state)
    if name in PLAIN:
        assert set(trainables) == {"prompt"} and diagnostics == {}
        np.testing.assert_array_equal(prompt, here.start)
    if name not in GROUPED:
        return
    sizes = {key: value.size for key, value in trainables.items()}
    assert sizes == {"prompt": P * H, "target_scale": P, "source_scales": S * P}
    assert all(np.all(trainables[key] == 1) for key in sizes if key != "prompt")
    group = np.asarray(diagnostics["group"])
    assert group.shape == diagnostics["similarity"].shape == (S,)
    np.testing.assert_array_equal(group, again)
    np.testing.assert_array_equal(
        group, method_state
    )  # the start's choice, not yet another
    added = sum(np.asarray(here.sources)[s] for s in np.flatnonzero(group))
    np.testing.assert_allclose(prompt, here.start + added, rtol=1e-5, atol=1e-6)


def test_the_group_is_chosen_anew_at_every_step():
    groups = run("dtvg", 14)
    assert len(set(groups[:7])) > 2 and groups[:7] == groups[7:]


def test_a_fixed_group_is_that_of_the_start():
    start = first_group("dtvg", context())
    assert set(run("fixed_group", 9)) == {tuple(start.astype(int).tolist())}
    assert len(set(run("dtvg", 9))) > 1


def test_every_tenth_step():
    groups, free = run("regroup_every_10", 35), run("dtvg", 35)
    for step, group in enumerate(groups):
        assert group == free[step - step % 10]


def test_frozen_after_fifty():
    groups, free = run("freeze_after_50", 60), run("dtvg", 60)
    assert groups[:50] == free[:50] and set(groups[50:]) == {free[49]}


def test_a_source_that_is_not_available_is_never_chosen():
    here = context()._replace(available=jnp.array([True, False, True, False]))
    for name in GROUPED:
        assert not np.any(first_group(name, here) & ~np.asarray(here.available))
    assert first_group("all_sources", here).tolist() == here.available.tolist()


@pytest.mark.parametrize(
    ("method", "count", "most"),
    [
        (dtvg.Grouped(rule="exhaustive"), 12, None),
        (dtvg.Grouped(rule="exhaustive"), 13, 12),
        (dtvg.Grouped(rule="exhaustive", exhaustive_limit=13), 13, None),
        (dtvg.Grouped(rule="exhaustive", exhaustive_limit=2), 3, 2),
        (dtvg.Grouped(exhaustive_limit=2), 1000, None),
    ],
)
def test_too_many_sources_are_a_sentence(method, count, most):
    with contextlib.ExitStack() as stack:
        if most is not None:
            sentence = f"method 'exhaustive' takes at most {most} sources, not {count}"
            stack.enter_context(pytest.raises(InputError, match=sentence))
        method.check(list(map(str, range(count))), [0])


def test_only_what_is_compiled_tells_programs_apart():
    grouped = dtvg.Grouped()
    alike = [
        dataclasses.replace(grouped, variant="slow", source_scale_rate=0.5),
        dataclasses.replace(grouped, target_scale_rate=0.1, alias="mine"),
        dataclasses.replace(grouped, start=methods.Start.P_INIT),
    ]
    assert {one.structure for one in alike} == {grouped.structure}
    other = [dtvg.Grouped(every=2), dtvg.Grouped(until=3), dtvg.Grouped(weight=2.0)]
    assert len({one.structure for one in [grouped, *other]}) == 4
    plain = [methods.by_name(name) for name in PLAIN]
    assert len({one.structure for one in plain}) == 1
    others = [one for name, one in methods.METHODS.items() if name not in PLAIN]
    assert len({one.structure for one in others}) == len(others)


def test_each_array_has_a_rate_by_the_stages():
    """The scales' are absolute, of the prompt that of the stage."""
    one = dtvg.Grouped(target_scale_rate=0.03, source_scale_rate=0.5)
    rates = {"prompt": 0.2, "target_scale": 0.03, "source_scales": 0.5}
    assert one.rates(0.2) == rates
    as_reference = dataclasses.replace(one, target_scale_rate=None)
    assert as_reference.rates(0.2) == rates | {"target_scale": 0.2}
    assert methods.METHODS["spot"].rates(0.2) == {"prompt": 0.2}
    for method in methods.METHODS.values():
        trainables, _ = method.init(context())
        assert set(method.rates(1.0)) == set(trainables)


def test_an_entry_holds_what_the_prompt_was_merged_of():
    method = methods.METHODS["all_sources"]
    trainables, group = method.init(context())
    trainables = {name: np.asarray(value) for name, value in trainables.items()}
    saved = method.saved(trainables, np.asarray(group))
    np.testing.assert_array_equal(saved["target_prompt"], context().start)
    assert saved["source_scales"].shape == (S, P)
    assert saved["group"].dtype == np.uint8 and saved["group"].tolist() == [1] * S
    assert methods.METHODS["spot"].saved(trainables, ()) == {}


NAMED = dtvg.Grouped(source_scale_rate=0.5, every=7, weight=2.0)


@pytest.mark.parametrize(
    ("given", "settings", "found"),
    [
        ("dtvg", (), dtvg.Grouped()),
        ("dtvg", (NAMED,), NAMED),
        # What a preset sets itself is its own.
        (
            "regroup_every_10",
            (NAMED,),
            dataclasses.replace(NAMED, alias="regroup_every_10", every=10),
        ),
        ("greedy", (NAMED,), dataclasses.replace(NAMED, rule="greedy")),
        ("spot", (NAMED,), methods.METHODS["spot"]),
        (dtvg.Grouped(every=2), (NAMED,), dtvg.Grouped(every=2)),
        ("dtvg_jax.methods.test_double:METHOD", (), None),
    ],
)
def test_a_name_takes_the_settings_of_its_class(given, settings, found):
    if found is None:
        with pytest.raises(InputError, match="cannot be imported .No module named"):
            methods.resolve(given, settings)
    else:
        assert methods.resolve(given, settings) == found


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("dtvg_jax.methods:NO", "cannot be imported .*no attribute 'NO'"),
        ("dtvg_jax.methods:METHODS", "it must be a `dtvg_jax.methods.Method`"),
        (":x", "cannot be imported"),
    ],
)
def test_what_is_no_method_is_a_sentence(path, sentence):
    with pytest.raises(InputError, match=sentence):
        methods.by_name(path)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rule": "gredy"}, "unknown grouping rule 'gredy': did you mean 'greedy'"),
        ({"every": 0}, "every = 0: it must be a whole number of at least 1"),
        ({"until": -1}, "until = -1: it must be a whole number of at least 0"),
        (
            {"until": "a"},
            "until = 'a': it must be a whole number of at least 0 or None",
        ),
        ({"source_scale_rate": -0.1}, "source_scale_rate = -0.1: it must be a number"),
        ({"weight": float("nan")}, "weight = nan: it must be a number of at least 0"),
        ({"start": "mine"}, "unknown start 'mine': .*known are own, p_init, most_"),
        ({"variant": "a/b"}, "variant = 'a/b' of a method: it must be of letters"),
        ({"alias": "stage1"}, "name = 'stage1' of a method: it must be of letters"),
        ({"alias": ".x"}, "name = '.x' of a method"),
    ],
)
def test_a_setting_that_cannot_be_is_a_sentence(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        dtvg.Grouped(**settings)


def test_settings_name_the_class_and_every_field():
    """As JSON gives them back, which a resumed job compares."""
    settings = dtvg.Grouped(every=3, variant="v", start=methods.Start.P_INIT).settings
    assert settings == json.loads(json.dumps(settings))
    assert settings["class"] == "dtvg_jax.methods.dtvg:Grouped"
    assert (settings["every"], settings["variant"]) == (3, "v")
    assert settings["start"] == "p_init" and settings["until"] is None


def test_a_variant_is_described_by_what_it_changes():
    one = dtvg.Grouped(rule="greedy", weight=2.0, variant="heavy")
    assert one.full_name == "greedy+heavy"
    assert methods.described(one).endswith("grows (rule greedy, weight 2.0)")
    assert methods.described(dtvg.Grouped(every=4)) == (
        "dtvg, but a new group is chosen every 4 steps only"
    )


def test_every_method_is_described_in_a_line_of_its_own():
    lines = [methods.described(one) for one in methods.METHODS.values()]
    assert all(line and "\n" not in line for line in lines)
    assert len(set(lines)) == len(lines)


def test_an_unknown_method_is_a_sentence_with_the_nearest_name():
    with pytest.raises(InputError, match="unknown method 'dtgv': did you mean 'dtvg'"):
        methods.by_name("dtgv")
