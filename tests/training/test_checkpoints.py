"""Checkpoints of lane states: exact, few, and checked."""

import dataclasses
import errno
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax.errors import InputError
from dtvg_jax.methods import METHODS
from dtvg_jax.training import checkpoints, lanes, loop, optimisers

AT = loop.Progress(
    log_position=120,
    validated=loop.Validated(
        3, (True, False), ({"accuracy": 50.0, "mean": 50.0}, {}), (None, 3)
    ),
    seconds=1.5,
)


def state(method: str = "dtvg", step: int = 0, rows: int = 3) -> lanes.State:
    """A state in which every array holds something else."""
    context = lanes.LaneContexts(
        jnp.zeros((1, rows, 4)),
        jnp.ones((1, 5, rows, 4)),
        jnp.ones((2, rows, 4)),
        jnp.ones((2, 5), bool),
        jnp.zeros(1, jnp.uint32),
    )
    made = lanes.init(METHODS[method], optimisers.by_name("adamw_stage2"), context)
    leaves, tree = jax.tree.flatten(made)
    rng = np.random.default_rng(step)
    filled = [
        jnp.asarray(rng.integers(0, 100, x.shape) / 7).astype(x.dtype) for x in leaves
    ]
    return jax.tree.unflatten(tree, filled)._replace(step=jnp.array(step, jnp.int32))


def save(manager: Any, made: lanes.State) -> None:
    checkpoints.save(manager, int(made.step), made, dataclasses.asdict(AT))


def restore(manager: Any, like: lanes.State) -> tuple[lanes.State, loop.Progress]:
    found = checkpoints.restore(manager, like, loop.Progress)
    assert found is not None
    return found


@pytest.mark.parametrize("method", ["dtvg", "prompt_tuning", "attempt"])
def test_what_is_saved_is_restored_to_the_bit(tmp_path, method, capfd):
    saved = state(method, 7)
    with checkpoints.manager(tmp_path) as manager:
        save(manager, saved)
    with checkpoints.manager(tmp_path) as manager:
        found, at = restore(manager, state(method))
    assert at == AT
    assert jax.tree.structure(found) == jax.tree.structure(saved)
    jax.tree.map(np.testing.assert_array_equal, found, saved)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_nothing_is_restored_where_nothing_was_saved(tmp_path):
    with checkpoints.manager(tmp_path) as manager:
        assert checkpoints.restore(manager, state(), loop.Progress) is None


def test_the_newest_two_are_kept(tmp_path):
    with checkpoints.manager(tmp_path) as manager:
        for step in (3, 6, 9):
            save(manager, state(step=step))
        save(manager, state(step=9))  # again: nothing to do
        assert sorted(manager.all_steps()) == [6, 9]
        found, _ = restore(manager, state())
    assert found.step == 9


def test_a_half_written_step_is_not_there(tmp_path):
    with checkpoints.manager(tmp_path) as manager:
        save(manager, state(step=3))
    torn = tmp_path / "6.orbax-checkpoint-tmp"
    (torn / "state").mkdir(parents=True)
    with checkpoints.manager(tmp_path) as manager:
        found, _ = restore(manager, state())
    assert found.step == 3


def test_a_state_of_another_shape_is_a_sentence(tmp_path):
    with checkpoints.manager(tmp_path) as manager:
        save(manager, state(step=3))
        for other in (state(rows=2), state("prompt_tuning")):
            with pytest.raises(InputError, match="does not fit this job"):
                restore(manager, other)


def test_a_damaged_checkpoint_is_a_sentence(tmp_path):
    with checkpoints.manager(tmp_path) as manager:
        save(manager, state(step=3))
    (tmp_path / "3" / "progress" / "metadata").write_text("{")
    with checkpoints.manager(tmp_path) as manager:
        with pytest.raises(InputError, match="checkpoint 3 in .* does not fit"):
            restore(manager, state())


def flip(path: pathlib.Path) -> None:
    """Changes one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def data_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the files that hold the values of arrays."""
    return sorted(p for p in (folder / "state").rglob("d/*") if p.is_file())


def test_a_changed_bit_is_noticed_and_the_step_before_is_taken(tmp_path, capsys):
    with checkpoints.manager(tmp_path) as manager:
        save(manager, state(step=3))
        save(manager, state(step=6))
    assert data_files(tmp_path / "6")
    for path in data_files(tmp_path / "6"):
        flip(path)
    with checkpoints.manager(tmp_path) as manager:
        found, _ = restore(manager, state())
        assert found.step == 3 and list(manager.all_steps()) == [3]
    assert "going back to step 3" in capsys.readouterr().out


def test_the_progress_of_another_step_is_noticed(tmp_path, capsys):
    with checkpoints.manager(tmp_path) as manager:
        for step, position in ((3, 100), (6, 200)):
            progress = dataclasses.asdict(AT) | {"log_position": position}
            checkpoints.save(manager, step, state(step=step), progress)
    shutil.rmtree(tmp_path / "6" / "progress")
    shutil.copytree(tmp_path / "3" / "progress", tmp_path / "6" / "progress")
    with checkpoints.manager(tmp_path) as manager:
        found, at = restore(manager, state())
    assert (found.step, at.log_position) == (3, 100)
    assert "checkpoint 6 in" in capsys.readouterr().out


def test_nothing_is_trained_on_where_no_checkpoint_is_whole(tmp_path):
    with checkpoints.manager(tmp_path) as manager:
        save(manager, state(step=3))
    for path in data_files(tmp_path / "3"):
        flip(path)
    with checkpoints.manager(tmp_path) as manager:
        with pytest.raises(InputError, match="checkpoint 3 .* starts anew"):
            restore(manager, state())


def test_arrays_lie_under_the_names_of_their_paths(tmp_path):
    with checkpoints.manager(tmp_path) as manager:
        save(manager, state(step=3))
        saved = manager.item_metadata(3)["state"]
    leaves = jax.tree_util.tree_flatten_with_path(saved.tree)[0]
    shapes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in leaves
    }
    scales = {"target_scale": (2, 3), "source_scales": (2, 5, 3)}
    trained = {"prompt": (2, 3, 4)} | scales
    expected = {"step": (), "alive": (2,), "method_state": (2, 5)}
    expected |= {f"trainables/{name}": shape for name, shape in trained.items()}
    expected |= {"optimiser/1/count": (2,)}
    for moment in ("mu", "nu"):
        expected |= {f"optimiser/1/{moment}/{k}": shape for k, shape in trained.items()}
    expected |= {"best/score": (2,), "best/step": (2,), "best/prompt": (2, 3, 4)}
    expected |= {"best/method_state": (2, 5)}
    expected |= {f"best/trainables/{name}": shape for name, shape in trained.items()}
    assert shapes == expected


def test_random_keys_are_restored_as_keys(tmp_path):
    keys = {"keys": jax.random.split(jax.random.key(3), 4), "count": jnp.arange(2)}
    like = jax.tree.map(lambda x: x[::-1], keys)
    with checkpoints.manager(tmp_path) as manager:
        checkpoints.save(manager, 1, keys, dataclasses.asdict(AT))
        found, _ = checkpoints.restore(manager, like, loop.Progress)
    assert found["keys"].dtype == keys["keys"].dtype
    assert (found["keys"] == keys["keys"]).all()
    np.testing.assert_array_equal(found["count"], [0, 1])


def test_plain_orbax_reads_a_checkpoint_as_the_documentation_says(tmp_path):
    """The example of docs/checkpoints.md, in a process without dtvg_jax."""
    folder = tmp_path / "jobs/quickstart/checkpoints/stage2-dtvg"
    with checkpoints.manager(folder) as manager:
        save(manager, state(step=100))
    text = (pathlib.Path(__file__).parents[2] / "docs/checkpoints.md").read_text()
    [block] = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    block += "\nimport sys\nassert 'dtvg_jax' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(2, 3, 4) 100 3\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ESTALE, "Stale file handle"),
        ValueError("ABORTED: All 32 retry attempts failed: CURL error"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"),
    ],
    ids=["files", "stale", "store", "memory"],
)
def test_what_the_system_refuses_is_no_damage(tmp_path, monkeypatch, error):
    with checkpoints.manager(tmp_path) as manager:
        for step in (3, 6):
            save(manager, state(step=step))
        raising = Raising(error)
        monkeypatch.setattr(checkpoints.ocp.CheckpointManager, "restore", raising)
        with pytest.raises(type(error)) as raised:
            restore(manager, state())
        assert raised.value is error and raising.calls == 1
        assert manager.all_steps() == [3, 6]


class Raising:
    """A function that raises, and counts its calls."""

    def __init__(self, error: Exception):
        self.error, self.calls = error, 0

    def __call__(self, *_: object, **__: object):
        self.calls += 1
        raise self.error
