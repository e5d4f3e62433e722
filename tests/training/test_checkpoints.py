"""Checkpoints of lane states: exact, few, and checked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax.errors import InputError
from dtvg_jax.methods import METHODS, Context
from dtvg_jax.training import checkpoints, lanes, optimisers

AT = checkpoints.Progress(log_position=120, validated=3, seconds=1.5)


def state(method: str = "dtvg", step: int = 0, rows: int = 3) -> lanes.State:
    """A state in which every array holds something else."""
    context = Context(
        jnp.zeros((1, rows, 4)),
        jnp.ones((1, 5, rows, 4)),
        jnp.ones((2, rows, 4)),
        jnp.ones((2, 5), bool),
    )
    made = lanes.init(
        METHODS[method].method, optimisers.by_name("adamw_stage2"), context
    )
    leaves, tree = jax.tree.flatten(made)
    rng = np.random.default_rng(step)
    filled = [
        jnp.asarray(rng.integers(0, 100, x.shape) / 7).astype(x.dtype) for x in leaves
    ]
    return jax.tree.unflatten(tree, filled)._replace(step=jnp.array(step, jnp.int32))


@pytest.mark.parametrize("method", ["dtvg", "prompt_tuning"])
def test_what_is_saved_is_restored_to_the_bit(tmp_path, method, capfd):
    saved = state(method, 7)
    with checkpoints.manager(tmp_path) as manager:
        checkpoints.save(manager, saved, AT)
    with checkpoints.manager(tmp_path) as manager:
        found, at = checkpoints.restore(manager, state(method))
    assert at == AT
    assert jax.tree.structure(found) == jax.tree.structure(saved)
    jax.tree.map(np.testing.assert_array_equal, found, saved)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_nothing_is_restored_where_nothing_was_saved(tmp_path):
    with checkpoints.manager(tmp_path) as manager:
        assert checkpoints.restore(manager, state()) is None


def test_the_newest_two_are_kept(tmp_path):
    with checkpoints.manager(tmp_path) as manager:
        for step in (3, 6, 9):
            checkpoints.save(manager, state(step=step), AT)
        checkpoints.save(manager, state(step=9), AT)  # again: nothing to do
        assert sorted(manager.all_steps()) == [6, 9]
        found, _ = checkpoints.restore(manager, state())
    assert found.step == 9


def test_a_half_written_step_is_not_there(tmp_path):
    with checkpoints.manager(tmp_path) as manager:
        checkpoints.save(manager, state(step=3), AT)
    torn = tmp_path / "6.orbax-checkpoint-tmp"
    (torn / "state").mkdir(parents=True)
    with checkpoints.manager(tmp_path) as manager:
        found, _ = checkpoints.restore(manager, state())
    assert found.step == 3


def test_a_state_of_another_shape_is_a_sentence(tmp_path):
    with checkpoints.manager(tmp_path) as manager:
        checkpoints.save(manager, state(step=3), AT)
        for other in (state(rows=2), state("prompt_tuning")):
            with pytest.raises(InputError, match="does not fit this job"):
                checkpoints.restore(manager, other)


def test_a_damaged_checkpoint_is_a_sentence(tmp_path):
    with checkpoints.manager(tmp_path) as manager:
        checkpoints.save(manager, state(step=3), AT)
    (tmp_path / "3" / "progress" / "metadata").write_text("{")
    with checkpoints.manager(tmp_path) as manager:
        with pytest.raises(InputError, match="checkpoint 3 in .* does not fit"):
            checkpoints.restore(manager, state())
