"""Runs cuDNN's attention where heads do not divide the mesh, XLA's in its place.

Its partitioner, which sees the shardings, is Python and runs on a CPU too. Prints the
difference from one device: the norm of that of a prompt's gradient, relative. A process
of its own, since the number of devices is that of a process.
"""

import dataclasses
import os
import types
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import jax.numpy as jnp
import numpy as np
import tiny_t5
from jax._src.cudnn import fused_attention_stablehlo as cudnn
from jax.interpreters import mlir

from dtvg_jax.models import attention
from dtvg_jax.models import backbone as backbones
from dtvg_jax.training import placement
from dtvg_jax.training.placement import Mesh

# Six heads on four devices, of which two could share them; their width, 48, divides.
CONFIG = dataclasses.replace(tiny_t5.CONFIG, d_kv=8, num_heads=6, dropout_rate=0.0)


def attend(query, key, value, bias, _, lengths, *, variadic_args, scale) -> jax.Array:
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        bias=bias if variadic_args[0] else None,
        key_value_seq_lengths=lengths,
        scale=scale,
        implementation="xla",
    )


def forward(*operands, variadic_args, scale, is_training, **_) -> list[jax.Array]:
    out = attend(*operands[:6], variadic_args=variadic_args, scale=scale)
    rows, length, heads, _ = out.shape
    return [out, jnp.zeros((rows, heads, length))][: 1 + is_training]


def backward(*operands, variadic_args, scale, **_) -> list[jax.Array]:
    bias = operands[3]

    def out(query, key, value):
        given = (query, key, value, *operands[3:6])
        return attend(*given, variadic_args=variadic_args, scale=scale)

    _, back = jax.vjp(out, *operands[:3])
    return [*back(operands[-1]), *([jnp.zeros_like(bias)] if variadic_args[1] else [])]


def replace_kernels() -> None:
    """Makes XLA compute what cuDNN's kernels would."""
    # JAX asks for cuDNN's version when it traces; only a machine that has it says.
    cudnn.cuda_versions = types.SimpleNamespace(cudnn_get_version=lambda: 91500)
    for primitive, function in (
        (cudnn._dot_product_attention_fwd_p, forward),
        (cudnn._dot_product_attention_bwd_p, backward),
    ):
        rule = mlir.lower_fun(function, multiple_results=True)
        mlir.register_lowering(primitive, rule, platform="cpu")


def gradient(mesh: Mesh, devices: int) -> np.ndarray:
    """Gives the gradient of two prompts on rows of three lengths."""
    place = placement.make(mesh, jax.devices()[:devices])
    params: Any = jax.tree.map(
        lambda x: x.astype(jnp.bfloat16),
        backbones.init_params(CONFIG, jax.random.key(1)),
    )
    params = jax.device_put(params, backbones.shardings(CONFIG, place.mesh))
    b = backbones.build("tiny", CONFIG, params, None, "", place.mesh)
    inputs = np.array([[5, 6, 7, 8], [9, 4, -1, -1], [3, -1, -1, -1], [2, 3, 4, 5]])
    targets = np.array([[6, 7], [8, 9], [3, 4], [5, 6]])

    def loss(prompts, params, inputs, targets):
        before = b.take(b.prefix(params, prompts), jnp.array([0, 1, 0, 1]))
        logits = b.logits_after(params, before, inputs, targets)
        return -backbones.token_log_probabilities(logits, targets).sum()

    prompts = np.random.default_rng(0).normal(size=(2, 4, 16)).astype(np.float32)
    with attention.kernel(cudnn=True):
        rows = place.put_rows((inputs.astype(np.int32), targets.astype(np.int32)))
        return np.asarray(jax.jit(jax.grad(loss))(prompts, params, *rows))


def main() -> None:
    """Compares four devices with one."""
    replace_kernels()
    one = gradient(Mesh(), 1)
    four = gradient(Mesh(tensor=4), 4)
    print(np.linalg.norm(four - one) / np.linalg.norm(one))


if __name__ == "__main__":
    main()
