"""All weights tuned in a job: measured once, and shown."""

import pytest

from dtvg_jax.errors import InputError
from dtvg_jax.jobs import job, pipeline
from dtvg_jax.training import all_weights
from dtvg_jax.training.stages import Stage

STAGE = Stage(2, 0.1, batch_size=4, warmup=0, validate_every=2)


def settings(cache, **changes) -> job.Job:
    given = {
        "backbone": "miniature", "sources": [], "targets": ["mrpc"], "methods": (),
        "stage1": STAGE, "stage2": STAGE, "ceiling": Stage(4, 1e-3, warmup=1),
        "prompt_length": 2, "inputs_length": 32, "targets_length": 2, "seeds": [0],
        "validation_rows": 8, "test_rows": 8, "cache_dir": str(cache),
    }  # fmt: skip
    return job.Job(**given | changes)


@pytest.mark.slow
def test_the_ceiling_is_measured_once_and_shown(cache, tmp_path, monkeypatch):
    report = pipeline.run(settings(cache), tmp_path)
    [found] = report.results.ceilings
    assert (found.task, found.seed) == ("mrpc", 0) and found.best_step in (0, 4)
    assert 0 <= found.metrics["f1"] <= 100
    assert found.trained == 489_760  # numbers in the miniature's model.safetensors
    text = (tmp_path / "results.md").read_text()
    assert "## All weights" in text and f"| {found.trained} |" in text

    def trained_again(*_):
        raise AssertionError("the ceiling was trained again")

    monkeypatch.setattr(all_weights, "train", trained_again)
    (tmp_path / "results.json").unlink()
    assert pipeline.run(settings(cache), tmp_path).results.ceilings == (found,)


def test_weights_are_not_tuned_in_bfloat16(cache):
    with pytest.raises(InputError, match="all weights are tuned in float32"):
        settings(cache, dtype="bfloat16")
