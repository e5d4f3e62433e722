"""The trials of a search, and which of them are chosen."""

import math
from collections.abc import Mapping

from dtvg_jax.report.records import TrialRow
from dtvg_jax.store import entries
from dtvg_jax.store.entries import Metadata
from dtvg_jax.training import trials
from dtvg_jax.training.runs import Run


def tried(learned: Mapping[Run, Metadata]) -> list[TrialRow]:
    """Lists the trials among what was learned, and marks those of the best settings.

    Of equally good settings the one that was trained longest is the best.
    """
    scores = {
        run: (
            math.nan if one.failed else one.metrics["mean"],
            math.inf if one.stopped is None else one.stopped,
        )
        for run, one in learned.items()
        if run.trial is not None
    }
    best = trials.best(scores)
    return [
        TrialRow(
            task=run.task,
            method=run.method,
            variant=run.variant,
            trial=run.trial,
            seed=run.seed,
            validation=learned[run].metrics,
            best_step=learned[run].step or 0,
            stopped=learned[run].stopped,
            failed=learned[run].failed,
            entry=f"store/{entries.name_of(run)}",
            prompt_digest=learned[run].prompt_digest,
            chosen=run in best,
        )
        for run in scores
        if run.trial is not None
    ]
