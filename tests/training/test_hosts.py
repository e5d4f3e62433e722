"""Several processes against one, on this machine; whole jobs are in test_processes.py.

One process has two devices, and two have one each: both add up what two devices found,
but by other code, which may add in another order. Adam's first steps have the size of
the rate whatever the gradient's, so a rounding of 1e-7 can grow to 1e-5 in a few steps.
"""

import os
import pathlib
import socket
import subprocess
import sys

import host_training
import jax
import numpy as np
import pytest

from dtvg_jax.training import hosts, metrics_log

TESTS = pathlib.Path(__file__).resolve().parents[1]
TOLERANCE = 2e-5  # of prompts, whose values go up to 3


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def together(cache, tmp_path_factory) -> pathlib.Path:
    """The folder that two processes of one device each have trained in."""
    folder = tmp_path_factory.mktemp("together")
    programs = {"JAX_COMPILATION_CACHE_DIR": f"{cache}/xla"}
    paths = os.pathsep.join([str(path) for path in (TESTS, TESTS.parent)])
    devices = {"JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": paths}
    address = f"localhost:{free_port()}"
    started = [
        subprocess.Popen(
            [sys.executable, host_training.__file__, folder, address, "2", number],
            env=os.environ | programs | devices,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in "01"
    ]
    said = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)
    return folder


def test_two_processes_train_as_one(tmp_path, together):
    assert jax.device_count() == 2
    one = host_training.train(tmp_path, tmp_path / "tables")
    found = [np.load(together / f"found-{number}.npz") for number in "01"]
    assert found[0]["scores"].tolist() == [score["mean"] for score in one.scores]
    np.testing.assert_allclose(found[0]["prompt"], one.best.prompt, atol=TOLERANCE)
    assert np.abs(one.best.prompt - host_training.starts().start).max() > 0.1
    for name in ("scores", "agreed", "prompt"):
        np.testing.assert_array_equal(found[1][name], found[0][name], err_msg=name)


def test_process_0_writes_and_decides(together):
    assert [np.load(together / f"found-{n}.npz")["agreed"] for n in "01"] == [0, 0]
    records = metrics_log.read(together / metrics_log.FILE)
    assert len({(one.lane, one.step, type(one)) for one in records}) == len(records)
    assert max(one.step for one in records) == host_training.STAGE.steps


def test_processes_that_differ_are_refused(together):
    said = [str(np.load(together / f"found-{n}.npz")["refusal"]) for n in "01"]
    assert said == [
        "another process of this job has other settings, data or versions than process "
        "0: see what it says, and give all of them the same",
        "process 1 differs from process 0 (stage.rate is 0.2, in process 0 0.1): give "
        "all processes of a job the same settings, backbone, data and versions",
    ]


def test_all_go_back_where_one_finds_damage(together):
    assert [np.load(together / f"found-{n}.npz")["taken"] for n in "01"] == [1, 1]


def test_one_process_goes_on_where_two_ended(together):
    resumed = host_training.train(together, together / "tables-0")
    two = np.load(together / "found-0.npz")
    np.testing.assert_array_equal(two["prompt"], resumed.best.prompt)


def test_a_single_process_asks_nobody():
    value = [object()]  # which JSON could not hold
    assert hosts.alone() and hosts.first() and hosts.agree(value) is value
    check = test_a_single_process_asks_nobody
    assert hosts.together(check) is check
