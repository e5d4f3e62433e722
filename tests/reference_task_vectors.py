"""The algebra once more, as loops over float64 NumPy, written from the paper's text.

Rules compare exactly: similarities become whole numbers of 2^-200 and means fractions
of them, so no rounding here makes or breaks a tie.
"""

import itertools
from fractions import Fraction
from typing import NamedTuple

import numpy as np


class Seen(NamedTuple):
    """What a rule sees: whole numbers, in units of 2^-200."""

    target: list[int]
    gram: list[list[int]]
    available: list[bool]


def mean_row(scale, vector):
    total = np.zeros(vector.shape[1])
    for row in range(vector.shape[0]):
        total += float(scale[row]) * vector[row].astype(float)
    return total / vector.shape[0]


def similarity(scale_a, vector_a, scale_b, vector_b):
    return float(np.dot(mean_row(scale_a, vector_a), mean_row(scale_b, vector_b)))


def similarities(target_scale, target, source_scales, sources, available) -> Seen:
    """Measures everything against everything, one pair at a time."""
    mean = mean_row(target_scale, target)
    means = [mean_row(a, t) for a, t in zip(source_scales, sources, strict=True)]
    to_target = [np.dot(mean, m) for m in means]
    return whole(to_target, [[np.dot(m, n) for n in means] for m in means], available)


def whole(target, gram, available) -> Seen:
    """Makes whole numbers of similarities."""

    def one(value) -> int:
        return int(float(value) * 2.0**200)

    return Seen(
        [one(x) for x in target],
        [[one(x) for x in row] for row in np.asarray(gram)],
        [bool(a) for a in available],
    )


def target_similarity(seen, group):
    if not group:
        return Fraction(0)
    return Fraction(sum(seen.target[s] for s in group), len(group))


def consistency(seen, group):
    if len(group) < 2:
        return Fraction(0)
    pairs = list(itertools.permutations(group, 2))
    return Fraction(sum(seen.gram[i][j] for i, j in pairs), len(pairs))


def kept(seen):
    return [
        s for s in range(len(seen.target)) if seen.available[s] and seen.target[s] >= 0
    ]


def ranking(seen):
    """Orders the sources kept, most similar first, ties by source order."""
    return sorted(kept(seen), key=lambda s: -seen.target[s])


def prefix_scores(seen):
    """Gives the consistency of every prefix of the ranking."""
    ranked, scores, total = ranking(seen), [], 0
    for k in range(1, len(ranked) + 1):
        for earlier in ranked[: k - 1]:
            total += 2 * seen.gram[ranked[k - 1]][earlier]
        scores.append(Fraction(total, k * (k - 1)) if k > 1 else Fraction(0))
    return scores


def released(seen):
    """Takes the first of the best prefixes."""
    scores = prefix_scores(seen)
    if not scores:
        return []
    return ranking(seen)[: scores.index(max(scores)) + 1]


def target_only(seen):
    return []


def all_sources(seen):
    return [s for s in range(len(seen.target)) if seen.available[s]]


def positive_similarity(seen):
    return kept(seen)


def max_consistency(seen):
    """Tries every subset of two or more, small ones first."""
    candidates = all_sources(seen)
    best, best_score = [], Fraction(0)
    for size in range(2, len(candidates) + 1):
        for group in itertools.combinations(candidates, size):
            score = consistency(seen, group)
            if score > best_score:
                best, best_score = list(group), score
    return best


def objective(seen, group):
    return target_similarity(seen, group) + consistency(seen, group)


def greedy(seen):
    """Adds the source that makes the objective largest, while that makes it larger."""
    group, score = [], None
    while True:
        rest = [s for s in kept(seen) if s not in group]
        scores = [objective(seen, [*group, s]) for s in rest]
        if not rest or (score is not None and max(scores) <= score):
            return group
        score = max(scores)
        group = [*group, rest[scores.index(score)]]


def exhaustive(seen):
    """Tries every subset of one or more, small ones first."""
    candidates = kept(seen)
    sizes = range(1, len(candidates) + 1)
    groups = [g for n in sizes for g in itertools.combinations(candidates, n)]
    scores = [objective(seen, group) for group in groups]
    return list(groups[scores.index(max(scores))]) if groups else []


def merge(p_init, target_scale, target, group, source_scales, sources):
    mixed = p_init.astype(float).copy()
    for row in range(p_init.shape[0]):
        mixed[row] += float(target_scale[row]) * target[row]
        for s in group:
            mixed[row] += float(source_scales[s][row]) * sources[s][row]
    return mixed
