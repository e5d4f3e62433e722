"""All weights trained on one task, against gradient descent written out here."""

import fake_table
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import test_lanes

from dtvg_jax.data import batches, microbatches
from dtvg_jax.models.backbone import token_loss
from dtvg_jax.training import all_weights, optimisers, placement
from dtvg_jax.training.stages import Stage

STEPS, RATE, BATCH = 3, 0.5, 4


@pytest.mark.parametrize(
    "config",
    [test_lanes.T5, pytest.param(test_lanes.LLAMA, marks=pytest.mark.slow)],
    ids=["t5", "llama"],
)
def test_weights_follow_the_gradient_of_the_mean_token_loss(
    tmp_path, monkeypatch, config
):
    plain = optax.with_extra_args_support(optax.identity())
    monkeypatch.setitem(optimisers.OPTIMISERS, "descent", plain)
    # Two buckets at least: the rows of a step are pooled from several microbatches.
    monkeypatch.setattr(placement, "CPU_TOKENS", 16)
    table = fake_table.make(tmp_path, fake_table.rows(10), lengths=(6, 2))
    backbone, seen = test_lanes.backbone(config), []

    def validate(params):
        seen.append(jax.tree.map(np.asarray, params))
        return {"mean": float(len(seen) == 3)}

    stage = Stage(
        STEPS, RATE, batch_size=BATCH, warmup=0, optimiser="descent",
        validate_every=1, dropout=False,
    )  # fmt: skip
    stream = microbatches.Stream(table, seed=1)
    tuned = all_weights.train(
        "a", backbone, stage, stream, validate, placement.make(), lambda: None
    )
    assert tuned.step == 2 and tuned.validation == {"mean": 1.0}
    params = backbone.params

    @jax.jit
    @jax.grad
    def gradient(params, batch):
        none = jnp.zeros((0, test_lanes.H))
        logits = backbone.logits(params, none, batch["inputs"], batch["targets"])
        return token_loss(logits, batch["targets"])

    for step in range(STEPS):
        rows = batches.batch_rows(table, 1, step, BATCH)
        batch = jax.tree.map(jnp.asarray, batches.gather(table, rows, 6, 2))
        gradients = gradient(params, batch)
        rate = RATE * (STEPS - step) / STEPS
        params = jax.tree.map(lambda p, g, rate=rate: p - rate * g, params, gradients)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
            seen[step + 1],
            params,
        )
    jax.tree.map(np.testing.assert_array_equal, tuned.params, seen[2])
    jax.tree.map(np.testing.assert_array_equal, backbone.params, seen[0])
