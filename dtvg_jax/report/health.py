"""Finds signs that a lane did not learn: in its answers, losses and prompt."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from dtvg_jax.report.records import Problem, ResultRow, Sign
from dtvg_jax.report.statistics import spread
from dtvg_jax.training.metrics_log import LogRecord, TrainRecord

FEWEST_LOSSES = 6
# With a mean token loss below this, answers are nearly certain: the task is learned,
# and the loss goes up and down by noise only.
LEARNED_LOSS = 0.1
# Norm of a prompt over that of P_init; prompts that learn have 1 to 10.
LARGEST_GROWTH = 100.0

HINTS = {
    Sign.NOT_FINITE: "lower the learning rate, or use float32",
    Sign.LOSS_STAYS: "train longer or with another learning rate, and look at rows of "
    "the task: do the targets follow from the inputs, and are they truncated?",
    Sign.NORM_EXPLODES: "lower the learning rate",
    Sign.ONE_ANSWER: "train longer or with another learning rate, and count the "
    "targets of the training split: is one far more frequent than the others?",
}


def problems(rows: Iterable[ResultRow], records: Iterable[LogRecord]) -> list[Problem]:
    """Lists the signs of tested prompts, in the order of the rows."""
    steps: dict[object, list[TrainRecord]] = {}
    for record in records:
        if isinstance(record, TrainRecord):
            steps.setdefault(record.run, []).append(record)
    return [
        Problem(row.stage, row.task, row.run.shown_method, row.seed, sign, seen)
        for row in rows
        for sign, seen in _signs(row, steps.get(row.run, []))
    ]


def sentence(problem: Problem) -> str:
    """Writes whose problem it is, what was seen, and what to try."""
    return (
        f"{problem.task}, {problem.method}, seed {problem.seed}, stage "
        f"{problem.stage}: {problem.sign} ({problem.seen}); {HINTS[problem.sign]}"
    )


def _signs(
    row: ResultRow, records: Sequence[TrainRecord]
) -> Iterator[tuple[Sign, str]]:
    if row.failed:
        # A lane is frozen there, so all that follows shows its best step before.
        steps = [r.step for r in records if r.loss is None or r.grad_norm is None]
        yield Sign.NOT_FINITE, f"seen at step {steps[0]}" if steps else row.failed
        return
    if row.growth > LARGEST_GROWTH:
        yield Sign.NORM_EXPLODES, f"{row.growth:.4g} times the norm of P_init"
    losses = [record.loss for record in records if record.loss is not None]
    if stays := loss_stays(losses):
        first, last = stays
        seen = f"mean of the first third {first:.3g}, of the last {last:.3g}"
        yield Sign.LOSS_STAYS, seen
    if row.only_answer is not None:
        yield Sign.ONE_ANSWER, f"{row.only_answer!r} to all {row.examples} test rows"


def loss_stays(losses: Sequence[float]) -> tuple[float, float] | None:
    """Gives the mean losses of the first and last third if the loss did not fall."""
    if len(losses) < FEWEST_LOSSES:
        return None
    third = len(losses) // 3
    first, last = spread(losses[:third]).mean, spread(losses[-third:]).mean
    return (first, last) if last >= max(first, LEARNED_LOSS) else None


def only_answer(answers: Sequence[str], golds: Sequence[object]) -> str | None:
    """Gives the answer to every row; None where answers differ or golds do not."""
    one_gold = all(gold == golds[0] for gold in golds)
    return answers[0] if len(set(answers)) == 1 and not one_gold else None


def growth(prompt: Float[np.ndarray, "P H"], tpv: Float[np.ndarray, "P H"]) -> float:
    """Divides the norm of a prompt by that of the P_init that it started from."""
    began = np.linalg.norm(prompt - tpv)
    return float(np.linalg.norm(prompt) / max(began, np.finfo(np.float32).tiny))
