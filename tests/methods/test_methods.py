"""Prompt methods: what they train, and when DTVG's variants choose their group."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax import methods
from dtvg_jax.errors import InputError

S, P, H = 4, 3, 6
PLAIN = ("prompt_tuning", "spot", "best_source")


def context(seed: int = 0) -> methods.Context:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return methods.Context(
        normal(P, H), normal(S, P, H), normal(P, H), jnp.ones(S, bool)
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
    method = methods.by_name(name).method
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
    for name in set(methods.METHODS) - set(PLAIN):
        assert not np.any(first_group(name, here) & ~np.asarray(here.available))
    assert first_group("all_sources", here).tolist() == here.available.tolist()


def test_too_many_sources_are_a_sentence():
    methods.check_sources("exhaustive", 12)
    methods.check_sources("dtvg", 1000)
    with pytest.raises(
        InputError, match="'exhaustive' takes at most 12 sources, not 13"
    ):
        methods.check_sources("exhaustive", 13)


def test_methods_that_differ_in_their_start_only_share_a_program():
    alike = [methods.by_name(name) for name in PLAIN]
    assert len({one.method for one in alike}) == 1
    assert [one.start for one in alike] == [
        methods.Start.OWN,
        methods.Start.MOST_SIMILAR_SOURCE,
        methods.Start.BEST_VALIDATED_SOURCE,
    ]
    others = [one for name, one in methods.METHODS.items() if name not in PLAIN]
    assert len({one.method for one in others}) == len(others)
    assert {one.start for one in others} == {methods.Start.OWN}


def test_every_method_is_described_in_a_line_of_its_own():
    lines = [one.description for one in methods.METHODS.values()]
    assert all(line and "\n" not in line for line in lines)
    assert len(set(lines)) == len(lines)


def test_an_unknown_method_is_a_sentence_with_the_nearest_name():
    with pytest.raises(InputError, match="unknown method 'dtgv': did you mean 'dtvg'"):
        methods.by_name("dtgv")
