"""The script that measures on a GPU, run in small where there is none."""

import json
import os
import pathlib
import subprocess
import sys
import types

import pytest
from jax._src.cudnn import fused_attention_stablehlo as cudnn

from benchmarks import gpu
from dtvg_jax.models import attention

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


def test_operations_do_not_depend_on_the_kernel(monkeypatch):
    """What cuDNN computes is no product in JAX's program, but is counted."""
    version = types.SimpleNamespace(cudnn_get_version=lambda: 91500)
    monkeypatch.setattr(cudnn, "cuda_versions", version)
    case = gpu.SMALL[0]
    assert case.dtype == "bfloat16" and case.inputs == 8
    with attention.kernel(cudnn=True):
        found = gpu.operations(case)
    # Two rows, two layers of 32 x 32 matrices, four of attention and two of 32 x 64;
    # 100 + 8 positions, whose keys and values the decoder's layers project too; 8
    # targets, with two matrices more; the head.
    matrix, mlp = 32 * 32, 2 * 32 * 64
    weights = 2 * (108 * (4 * matrix + mlp + 2 * matrix) + 8 * (6 * matrix + mlp))
    weights += 8 * 32 * gpu.CONFIGS["tiny"].vocab_size
    pairs = 2 * (108 * 108 + 36 + 8 * 108)
    assert found == 2 * (4 * weights + 6 * 2 * 32 * pairs)


def test_it_needs_neither_tensorflow_nor_seqio():
    code = "import sys, benchmarks.gpu; print({'tensorflow', 'seqio'} & {*sys.modules})"
    assert run("-c", code).strip() == "set()"
