"""Prompt methods: what they train, and when DTVG's variants choose their group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax import methods
from dtvg_jax.errors import InputError

S, P, H = 4, 3, 6
PLAIN = ("prompt_tuning", "spot")


def context(seed: int = 0) -> methods.Context:
    rng = np.random.default_rng(seed)
    shapes = ((P, H), (S, P, H), (P, H))
    arrays = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]
    return methods.Context(*arrays, jnp.ones(S, bool))


def run(name: str, steps: int) -> list[tuple[int, ...]]:
    """Moves the prompt to and fro, so that groups change; gives each step's group."""
    method, here = methods.by_name(name), context()
    trainables, memory = method.init(here)
    prompt = jax.jit(method.prompt)
    groups = []
    for step in range(steps):
        moved = context(1 + step % 7).start
        trainables = trainables | {"prompt": moved}
        _, memory, seen = prompt(trainables, memory, here, jnp.array(step))
        groups.append(tuple(np.asarray(seen["group"]).astype(int).tolist()))
    return groups


@pytest.mark.parametrize("name", methods.METHODS)
def test_what_is_trained_and_made(name):
    method, here = methods.by_name(name), context()
    trainables, memory = method.init(here)
    prompt, again, diagnostics = method.prompt(trainables, memory, here, jnp.array(0))
    assert prompt.shape == (P, H)
    assert jax.tree.structure(again) == jax.tree.structure(memory)
    if name in PLAIN:
        assert set(trainables) == {"prompt"} and diagnostics == {}
        np.testing.assert_array_equal(prompt, here.start)
        return
    sizes = {key: value.size for key, value in trainables.items()}
    assert sizes == {"prompt": P * H, "target_scale": P, "source_scales": S * P}
    group = np.asarray(diagnostics["group"])
    added = sum(np.asarray(here.sources)[s] for s in np.flatnonzero(group))
    np.testing.assert_allclose(prompt, here.start + added, rtol=1e-5, atol=1e-6)


def test_the_group_is_chosen_anew_at_every_step():
    groups = run("dtvg", 14)
    assert len(set(groups[:7])) > 2 and groups[:7] == groups[7:]


def test_a_fixed_group_is_that_of_the_start():
    method, here = methods.by_name("dtvg"), context()
    _, _, seen = method.prompt(*method.init(here), here, jnp.array(0))
    start = tuple(np.asarray(seen["group"]).astype(int).tolist())
    assert set(run("fixed_group", 9)) == {start}


def test_every_tenth_step():
    groups, free = run("regroup_every_10", 35), run("dtvg", 35)
    for step, group in enumerate(groups):
        assert group == free[step - step % 10]


def test_frozen_after_fifty():
    groups, free = run("freeze_after_50", 60), run("dtvg", 60)
    assert groups[:50] == free[:50] and set(groups[50:]) == {free[49]}


def test_an_unknown_method_is_a_sentence_with_the_nearest_name():
    with pytest.raises(InputError, match="unknown method 'dtgv': did you mean 'dtvg'"):
        methods.by_name("dtgv")
