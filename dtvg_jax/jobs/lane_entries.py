"""Trained lanes as entries of the store: their arrays, their metadata, their fit."""

import jax
import numpy as np

from dtvg_jax.jobs import plan
from dtvg_jax.jobs.job import Job
from dtvg_jax.jobs.stage_inputs import Prompt
from dtvg_jax.jobs.token_tables import Tables, lengths, training_split
from dtvg_jax.methods import Method, row_prompts
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.store import entries, prompt_store
from dtvg_jax.store.entries import Arrays, Fit, Metadata
from dtvg_jax.training.loop import Trained
from dtvg_jax.training.runs import Run

NOT_FINITE = "its loss, gradient or prompt was not finite"


def arrays(method: Method, trained: Trained, k: int, p_init: Prompt) -> Arrays:
    """Gives what is stored of lane k: its prompt, and what its method made it of."""
    prompt = np.asarray(trained.best.prompt[k])
    lane = (trained.best.trainables, trained.best.method_state)
    trainables, method_state = jax.tree.map(lambda x: np.asarray(x[k]), lane)
    made = {"prompt": prompt, "tpv": prompt - p_init}
    looking = trained.prompts.looking.get(k)
    of_rows = {} if looking is None else row_prompts.as_arrays(looking)
    return made | of_rows | method.saved(trainables, method_state)


def metadata(
    job: Job, run: Run, trained: Trained, k: int, tables: Tables, fit: Fit
) -> Metadata:
    """Describes lane k; backbone and store fill in their own parts."""
    method = plan.method_of(job, run)
    splits = {
        "train": training_split(job, run.task, run.seed),
        "validation": "validation",
        "test": "test",
    }
    return Metadata(
        task=run.task,
        method=run.method,
        variant=run.variant,
        trial=run.trial,
        stopped=trained.stopped[k],
        settings=method.settings,
        stage=run.stage,
        seed=run.seed,
        step=int(trained.best.step[k]),
        metrics=trained.scores[k],
        failed=None if trained.alive[k] else NOT_FINITE,
        sources=list(job.sources) if method.merges_sources else None,
        label_style=job.label_style,
        lengths=list(lengths(job, run.task)),
        split_digests={
            name: tables[run.task, split].metadata.split_digest
            for name, split in splits.items()
        },
        **fit._asdict(),
    )


def fit(backbone: Backbone, p_init: Prompt) -> Fit:
    """Says what an entry must agree with to be used with a backbone and a P_init."""
    return entries.fit(backbone)._replace(
        prompt_length=p_init.shape[0], p_init_digest=prompt_store.digest(p_init)
    )
