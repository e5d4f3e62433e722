"""What can be said about a difference between methods."""

import enum

from dtvg_jax.report.records import Comparison, Difference


class Verdict(enum.StrEnum):
    """How a method does against the baseline."""

    BETTER = "better"
    WORSE = "worse"
    NOISE = "noise"


def verdict(found: Difference) -> Verdict:
    """Calls a difference noise where its interval contains 0."""
    if found.within_noise:
        return Verdict.NOISE
    return Verdict.BETTER if found.difference > 0 else Verdict.WORSE


def compared(comparison: Comparison) -> str:
    """Compares a method with the baseline in a sentence; "" for the baseline."""
    method, baseline = comparison.method, comparison.baseline
    found = comparison.overall
    if method == baseline:
        return ""
    if found is None:
        return f"{method} and {baseline} have no target and seed in common."
    difference = f"{method} differs from {baseline} by {found.difference:+.2f}"
    if found.low is None:
        return (
            f"{difference} on their only pair of target and seed: one pair is too few "
            "to tell a difference from noise."
        )
    called = verdict(found)
    if called is Verdict.NOISE:
        return (
            f"{difference} on average, which is within the noise: the 95 % interval "
            "contains 0."
        )
    return (
        f"{method} is {called} than {baseline} by {abs(found.difference):.2f} on "
        "average; the 95 % interval does not contain 0."
    )


def by_target(comparison: Comparison) -> str:
    """Lists the targets on which a method differs from the baseline."""
    if len(comparison.by_task) < 2:
        return ""
    phrases = {
        Verdict.BETTER: "better on",
        Verdict.WORSE: "worse on",
        Verdict.NOISE: "within the noise on",
    }
    parts = []
    for called, words in phrases.items():
        found = comparison.by_task.items()
        tasks = [task for task, one in found if verdict(one) is called]
        if tasks:
            parts.append(f"{words} {', '.join(tasks)}")
    return f"By target: {'; '.join(parts)}."
