"""The script that measures on a GPU, run in small where there is none."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*command: str) -> str:
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


@pytest.mark.slow
def test_it_prints_a_line_for_each_measurement():
    lines = [
        json.loads(line) for line in run("-m", "benchmarks.gpu", "--small").splitlines()
    ]
    device, first, second, *steps, last = lines
    assert device["device"] == "cpu"
    assert first["within"] and second["within"]
    assert [(one["dtype"], one["sources"]) for one in steps] == [
        ("bfloat16", 0),
        ("float32", 3),
    ]
    for one in steps:
        assert one["seconds"] > 0 and one["operations"] > 0
    assert last == {"not_measured": 0}


def test_it_needs_neither_tensorflow_nor_seqio():
    code = "import sys, benchmarks.gpu; print({'tensorflow', 'seqio'} & {*sys.modules})"
    assert run("-c", code).strip() == "set()"
