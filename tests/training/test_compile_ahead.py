"""Steps compiled for devices that are not here, from abstract arguments."""

import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
import tiny_t5

from dtvg_jax.errors import InputError
from dtvg_jax.methods import METHODS
from dtvg_jax.models.t5_config import T5Config
from dtvg_jax.training import compile_ahead, placement, tpu_slices

TINY = tiny_t5.CONFIG
SHAPES = compile_ahead.Shapes(
    lanes=4,
    groups=2,
    sources=3,
    prompt_length=5,
    batch_size=6,
    inputs_length=7,
    targets_length=2,
)
DTVG = compile_ahead.Step(METHODS["dtvg"], "adamw_stage2", SHAPES, dropout=True)
PROMPT = compile_ahead.Step(
    METHODS["prompt_tuning"], "adamw_stage1", SHAPES._replace(sources=0), dropout=True
)


def test_collectives_by_hand():
    program = """
%body.1 (p: (s32[], f32[2])) -> (s32[], f32[2]) {
  %f = f32[2]{0} all-gather(%q), dimensions={0}
  ROOT %g = (s32[], f32[2]{0}) tuple(%i, %f)
}

%body.2 (p: (s32[], f32[2])) -> (s32[], f32[2]) {
  %i = f32[2]{0} fusion(%q), kind=kOutput, calls=%part.1
  %j = f32[2]{0} fusion(%i), kind=kOutput, calls=%part.2
}

%part.1 (p: f32[2]) -> f32[6] {
  %k = f32[6]{0} all-gather(%q), channel_id=3, dimensions={0}
}

%part.2 (p: f32[2]) -> f32[6] {
  %l = f32[6]{0} all-gather(%q), channel_id=3, dimensions={0}
}

%cond.2 (p: (s32[], f32[2])) -> pred[] {
  %most = s32[]{:T(128)} constant(7)
  ROOT %less = pred[]{:T(512)} compare(%i, %most), direction=LT
}

%unused (p: f32[2]) -> f32[2] {
  ROOT %h = f32[2]{0} all-gather(%p), dimensions={0}
}

ENTRY %main.9 (x: f32[8,4]) -> f32[4] {
  %a = f32[8,4]{1,0} all-reduce(%x), replica_groups={{0,1}}
  ROOT %b = (f32[4]{0}, bf16[2,3]{1,0:T(8,128)}) all-reduce-start(%x, %y)
  %c = f32[4]{0} all-reduce-done(%b)
  %d = pred[16]{0} all-gather(%z), dimensions={0}
  %e = f32[9]{0} add(%all-reduce.1, %all-gather.2)
  %w = (s32[], f32[2]{0}) while(%t), condition=%cond.1, body=%body.1, \
backend_config={"known_trip_count":{"n":"5"}}
  %v = (s32[], f32[2]{0}) while(%w), condition=%cond.2, body=%body.2
}
"""
    # The second loop is a TPU's: its gather runs beside two fusions.
    assert compile_ahead.collectives(program) == {
        "all-reduce": {"count": 2, "bytes": 4 * 32 + 4 * 4 + 2 * 6},
        "all-gather": {"count": 1 + 5 + 7, "bytes": 16 + 5 * 8 + 7 * 24},
    }


def test_products_by_hand():
    def program(x, layers):
        def layer(x, weights):
            return jnp.tanh(x @ weights), None

        return jax.lax.scan(jax.checkpoint(layer), x, layers)[0] @ jnp.ones((4, 3))

    def count(function):
        made = jax.make_jaxpr(function)(jnp.ones((2, 4)), jnp.ones((7, 4, 4)))
        return compile_ahead.products(made.jaxpr)

    assert count(program) == 7 * 2 * (2 * 4 * 4) + 2 * (2 * 4 * 3)
    # Backwards: each layer again, the gradients of x and of the weights.
    again = jax.grad(lambda x, layers: program(x, layers).sum(), argnums=(0, 1))
    assert count(again) == 4 * 7 * 2 * (2 * 4 * 4) + 2 * 2 * (2 * 4 * 3)


@pytest.mark.parametrize(
    "step", [pytest.param(PROMPT, marks=pytest.mark.slow), DTVG], ids=["prompt", "dtvg"]
)
def test_a_batch_spread_over_devices_needs_sums_only(step):
    abstract = compile_ahead.abstract_step(TINY, step, placement.make())
    figures = compile_ahead.compile_for(*abstract)
    assert set(figures.collectives) == {"all-reduce"}
    assert figures.operations > 0
    memory = figures.memory_bytes
    assert memory["aliased"] > 0 and memory["total"] > memory["temporaries"] > 0


@pytest.mark.parametrize("step", [PROMPT, DTVG])
def test_steps_lower_for_cuda(step):
    abstract = compile_ahead.abstract_step(TINY, step, placement.make())
    assert compile_ahead.lower_for_cuda(*abstract) > 0


def test_dropout_is_that_of_the_step_where_the_backbone_has_a_rate():
    def drops(config: T5Config, dropout: bool) -> bool:
        step = PROMPT._replace(dropout=dropout)
        function, given = compile_ahead.abstract_step(config, step, placement.make())
        return "random_fold_in" in str(function.trace(*given).jaxpr)

    with_rate = dataclasses.replace(TINY, dropout_rate=0.1)
    without = dataclasses.replace(TINY, dropout_rate=0.0)
    assert drops(with_rate, True)
    assert not drops(with_rate, False) and not drops(without, True)


def test_without_libtpu_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package libtpu"):
        tpu_slices.devices("v5e:2x4")


def _require_libtpu() -> None:
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed, so nothing can be compiled for a TPU")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    # A process of its own: libtpu writes to standard error what it misses here.
    root = pathlib.Path(__file__).parents[2]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *command],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_an_unknown_slice_is_a_sentence():
    _require_libtpu()
    program = "from dtvg_jax.training import tpu_slices;tpu_slices.devices('v5e:2x5')"
    done = _run("-c", program)
    assert "InputError: 'v5e:2x5' is no TPU slice that libtpu knows" in done.stderr


@pytest.mark.slow
def test_t5_base_compiles_for_a_tpu_slice():
    _require_libtpu()
    done = _run("benchmarks/tpu.py", "--models=t5_1_1_base", "--slices=v5e:2x4")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["chips"] == 8 and row["mesh"]["rows"] == 8
    assert set(row["step"]["collectives"]) == {"all-reduce"}
    assert row["step"]["memory_bytes"]["total"] < 16 * 2**30  # of a v5e chip
    assert row["step"]["cuda_program_bytes"] > 0


@pytest.mark.slow
def test_llama_8b_spread_over_16_chips_takes_4_gb_of_each():
    _require_libtpu()
    done = _run("benchmarks/tpu.py", "--models=llama_3_1_8b", "--slices=v5e:4x4")
    assert done.returncode == 0, done.stderr
    [spread, _] = map(json.loads, done.stdout.splitlines())
    assert spread["mesh"]["fsdp"] == 16 and spread["step"]["remat"]
    assert spread["step"]["memory_bytes"]["total"] < 4 * 2**30
    # Each of 32 layers is gathered forwards, again, and by prefix and rows.
    gathered = spread["step"]["collectives"]["all-gather"]
    assert gathered["count"] > 32 * 7 * 2
