"""Stacks of layers: one body for all of them gives what the layers give in a row."""

import dataclasses

import golden_backbones as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dtvg_jax.models import backbone, layers

COUNT = 3


class Toy(nn.Module):
    """A layer that could not change its place with another."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = jnp.tanh(layers.Dense(x.shape[-1], ("embed", "embed"))(x))
        return x + layers.Dropout(0.5)(y)


class Stack(nn.Module):
    """Keeps of each layer its output, times what the layer is given."""

    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, given: jax.Array) -> tuple[jax.Array, jax.Array]:
        def body(layer, x, factor):
            x = layer(x)
            return x, factor * x

        return layers.run(body, Toy(name="layers"), COUNT, x, given, remat=self.remat)


X = jax.random.normal(jax.random.key(0), (2, 4))
GIVEN = jnp.array([1.0, 10.0, 100.0])
PARAMS = nn.unbox(Stack().init(jax.random.key(1), X, GIVEN))["params"]


def in_a_row(x):
    """The same by hand."""
    kept = []
    for i in range(COUNT):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], PARAMS["layers"])
        x = Toy().apply({"params": own}, x)
        kept.append(GIVEN[i] * x)
    return x, jnp.stack(kept)


@pytest.mark.parametrize("unrolled", [0, COUNT])
@pytest.mark.parametrize("remat", [False, True])
def test_a_stack_is_its_layers_in_a_row(unrolled, remat, monkeypatch):
    monkeypatch.setattr(layers, "UNROLLED", unrolled)
    stack = Stack(remat)

    def scanned(x):
        return stack.apply({"params": PARAMS}, x, GIVEN)

    for got, want in zip(scanned(X), in_a_row(X), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    got, want = (jax.grad(lambda x, f=f: f(x)[1].sum())(X) for f in (scanned, in_a_row))
    # One element is a difference of larger ones, and errs as much as they do.
    largest = np.abs(want).max() * np.finfo(np.float32).eps
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=largest)


def test_layers_draw_weights_and_dropout_of_their_own():
    kernels = PARAMS["layers"]["Dense_0"]["kernel"]
    assert kernels.shape == (COUNT, 4, 4)
    assert len(np.unique(kernels)) == kernels.size
    ones = jnp.ones((1, 500))
    params = jax.tree.map(jnp.zeros_like, PARAMS)
    # tanh(50 x 500 x ...) is 1, so a layer adds 2 where it keeps, and 0 elsewhere.
    params["layers"]["Dense_0"]["kernel"] = jnp.ones((COUNT, 500, 500))
    _, kept = Stack().apply(
        {"params": params}, ones, jnp.ones(COUNT), rngs={"dropout": jax.random.key(2)}
    )
    added = np.diff(np.array(kept[:, 0]), axis=0, prepend=1.0) > 0
    for i in range(COUNT):
        # Two layers agree on half of the elements: 5 standard errors are 0.11.
        assert abs((added[i] == added[i - 1]).mean() - 0.5) < 0.11


QUICK = "umt5", "llama_3_tied"


@pytest.mark.parametrize("name", golden.quick(golden.CASES, QUICK))
def test_loops_give_the_logits_of_torch(name, monkeypatch):
    """The golden models are small enough to be unrolled; real ones are not."""
    monkeypatch.setattr(layers, "UNROLLED", 0)
    v, b = golden.values(name), golden.load(name)
    # Made anew, since JAX would find what it traced before.
    functions = backbone.functions.__wrapped__(b.config)
    looped = golden.jitted(b._replace(**functions._asdict()))
    got = looped.logits(b.params, v["prompt"], v["inputs"], v["targets"])
    real = v["targets"] >= 0
    golden.assert_close(got[real], v["logits"][real])
    golden.assert_cached_equals_full(looped, v["prompt"], v["inputs"], v["targets"])


@pytest.mark.parametrize(
    "name", ["umt5", pytest.param("qwen3_tied", marks=pytest.mark.slow)]
)
def test_a_program_does_not_grow_with_the_layers(name):
    b = golden.load(name)
    prompts, inputs, targets = golden.lane_batch(b)

    def equations(count: int) -> int:
        known = {f.name for f in dataclasses.fields(b.config)}
        numbers = {"num_layers", "num_decoder_layers", "num_hidden_layers"} & known
        config = dataclasses.replace(b.config, **dict.fromkeys(numbers, count))
        functions = backbone.functions(config)

        def loss(prompt, params):
            logits = functions.logits(params, prompt, inputs[0], targets[0])
            return backbone.token_loss(logits, targets[0])

        gradient = jax.make_jaxpr(jax.grad(loss))
        return str(gradient(prompts[0], backbone.param_shapes(config))).count(" = ")

    assert equations(12) == equations(2) > 100
