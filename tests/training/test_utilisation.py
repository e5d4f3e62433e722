"""Operations of a step by hand, and by XLA and JAX; peaks by the names of devices."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_lanes
import tiny_t5

from dtvg_jax.models import backbone as backbones
from dtvg_jax.models import layers
from dtvg_jax.models.llama import LlamaConfig
from dtvg_jax.models.t5_config import T5Config
from dtvg_jax.training import compile_ahead, utilisation
from dtvg_jax.training.utilisation import Multiplied, Prompted, RealRows


def rows(*sizes: tuple[int, int, int]) -> RealRows:
    """Rows of so many inputs and targets, each of a lane."""
    return RealRows(*np.array(sizes).T)


def test_a_row_of_t5_by_hand():
    model = Prompted(tiny_t5.CONFIG, prompt_length=5)
    # 5 + 3 positions are encoded; matrices of attention have 16 x 8 weights, the three
    # of a feed-forward layer 16 x 32, and the head 16 x 64.
    encoder = 8 * (4 * 128 + 3 * 512)
    decoder = 2 * (6 * 128 + 3 * 512) + 8 * (2 * 128)
    head = 2 * 1024
    # Of 2 heads of 4 numbers: 8 x 8 pairs, 1 + 2 in the decoder, and 2 x 8.
    attention = 2 * 8 * (64 + 3 + 16)
    found = utilisation.multiplied(model, rows((3, 2, 0)))
    assert found == Multiplied(encoder + decoder + head, attention)
    assert utilisation.operations(model, rows((3, 2, 0))) == 4 * 25_088 + 6 * 1_328


@pytest.mark.parametrize("per_row, prompts", [(False, 2), (True, 3)])
def test_rows_of_llama_by_hand(per_row, prompts):
    model = Prompted(test_lanes.LLAMA, 5, per_row)
    # Rows of 4, 4 and 1 positions. A layer: 16 x 16 for queries and output, 16 x 8 for
    # keys and values, three of 16 x 32; the head has 16 x 64 for 2 + 2 + 1 targets.
    layer = 2 * 256 + 2 * 128 + 3 * 512
    weights = (9 + 5 * prompts) * layer + 5 * 1024
    # A position sees those before it, itself, and the prompt.
    pairs = 2 * (10 + 4 * 5) + (1 + 1 * 5) + 15 * prompts
    found = utilisation.multiplied(model, rows((3, 2, 7), (3, 2, 7), (1, 1, 4)))
    assert found == Multiplied(weights, 2 * 16 * pairs)


CONFIGS = {
    "t5": T5Config(
        vocab_size=512,
        d_model=128,
        d_kv=32,
        num_heads=4,
        d_ff=256,
        num_layers=3,
        num_decoder_layers=2,
    ),
    "llama": LlamaConfig(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
    ),
}
ROWS, PROMPT, INPUTS, TARGETS = 4, 10, 20, 6


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_others_count_the_same_within_a_few_percent(config):
    """XLA counts what lies between the products too; all masked pairs are computed."""
    assert config.num_hidden_layers <= layers.UNROLLED  # XLA counts no trips
    logits = backbones.functions(config).logits
    given = (
        jax.ShapeDtypeStruct((PROMPT, 128), jnp.float32),
        backbones.param_shapes(config),
        jax.ShapeDtypeStruct((ROWS, INPUTS), jnp.int32),
        jax.ShapeDtypeStruct((ROWS, TARGETS), jnp.int32),
    )

    def forward(prompt, params, inputs, targets):
        return logits(params, prompt, inputs, targets)

    def step(*given):
        return jax.grad(lambda *given: forward(*given).sum())(*given)

    model = Prompted(config, PROMPT)
    real = rows(*[(INPUTS, TARGETS, 0)] * ROWS)
    once = utilisation.multiplied(model, real)
    cost = jax.jit(forward).lower(*given).cost_analysis() or {}
    by_xla = cost["flops"] / (2 * sum(once))
    jaxpr = jax.make_jaxpr(step)(*given).jaxpr
    by_jax = compile_ahead.products(jaxpr) / utilisation.operations(model, real)
    assert 1.00 < by_xla < 1.06
    assert 0.97 < by_jax < 1.03


@pytest.mark.parametrize(
    "kinds, dtype, peak",
    [
        (["TPU v5 lite"], "bfloat16", 197e12),
        (["TPU v5 lite"] * 8, "float32", 8 * 197e12),
        (["TPU v5"], "bfloat16", 459e12),
        (["TPU v6 lite"], "bfloat16", 918e12),
        (["NVIDIA H200"], "bfloat16", 989e12),
        (["NVIDIA H100 80GB HBM3"], "float32", 495e12),
        (["NVIDIA A100-SXM4-40GB"], "float32", 156e12),
        (["NVIDIA A100 80GB PCIe"], "bfloat16", 312e12),
        (["NVIDIA L4"], "bfloat16", 121e12),
        # A part of a GPU, a slower H100, another one, and one that is not known.
        (["NVIDIA A100-SXM4-40GB MIG 1g.5gb"], "bfloat16", None),
        (["NVIDIA H100 PCIe"], "bfloat16", None),
        (["NVIDIA L40S"], "bfloat16", None),
        (["TPU v5 lite", "cpu"], "bfloat16", None),
    ],
)
def test_peaks_are_those_of_the_named_devices(kinds, dtype, peak):
    devices = [types.SimpleNamespace(device_kind=kind) for kind in kinds]
    assert utilisation.peak(devices, dtype) == peak
