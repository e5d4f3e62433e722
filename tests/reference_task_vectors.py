"""The algebra once more in NumPy, float64, written as loops from the paper's text."""

import itertools

import numpy as np


def mean_row(scale, vector):
    total = np.zeros(vector.shape[1])
    for row in range(vector.shape[0]):
        total += scale[row] * vector[row]
    return total / vector.shape[0]


def similarity(scale_a, vector_a, scale_b, vector_b):
    return float(np.dot(mean_row(scale_a, vector_a), mean_row(scale_b, vector_b)))


def target_similarity(seen, group):
    if not group:
        return 0.0
    return sum(seen.target[s] for s in group) / len(group)


def consistency(seen, group):
    if len(group) < 2:
        return 0.0
    pairs = list(itertools.permutations(group, 2))
    return sum(seen.gram[i][j] for i, j in pairs) / len(pairs)


def kept(seen):
    return [
        s for s in range(len(seen.target)) if seen.available[s] and seen.target[s] >= 0
    ]


def released(seen):
    """Scores every prefix of the ranking; the first of the best ones."""
    ranking = sorted(kept(seen), key=lambda s: -seen.target[s])
    scores, total = [], 0.0
    for k in range(1, len(ranking) + 1):
        for earlier in ranking[: k - 1]:
            total += 2 * seen.gram[ranking[k - 1]][earlier]
        scores.append(total / (k * (k - 1)) if k > 1 else 0.0)
    if not scores:
        return []
    return ranking[: first_best(seen, scores) + 1]


def tie(seen):
    """What float32 cannot tell apart: its rounding is 6e-8 of the largest summand."""
    return 1e-6 * max(max(seen.gram[s][s], seen.target[s]) for s in kept(seen))


def first_best(seen, scores):
    return next(i for i, x in enumerate(scores) if x >= max(scores) - tie(seen))


def target_only(seen):
    return []


def all_sources(seen):
    return [s for s in range(len(seen.target)) if seen.available[s]]


def positive_similarity(seen):
    return kept(seen)


def max_consistency(seen):
    """Tries every subset of two or more."""
    candidates = all_sources(seen)
    best, best_score = [], 0.0
    for size in range(2, len(candidates) + 1):
        for group in itertools.combinations(candidates, size):
            score = consistency(seen, group)
            if score > best_score * (1 + 1e-9):
                best, best_score = list(group), score
    return best


def objective(seen, group, weight):
    return target_similarity(seen, group) + weight * consistency(seen, group)


def greedy(seen, weight=1.0):
    group, score = [], -np.inf
    while True:
        rest = [s for s in kept(seen) if s not in group]
        if not rest:
            return group
        scores = [objective(seen, [*group, s], weight) for s in rest]
        if max(scores) <= score + tie(seen):
            return group
        group, score = [*group, rest[int(np.argmax(scores))]], max(scores)


def exhaustive(seen, weight=1.0):
    candidates = kept(seen)
    sizes = range(1, len(candidates) + 1)
    groups = [g for n in sizes for g in itertools.combinations(candidates, n)]
    scores = [objective(seen, group, weight) for group in groups]
    return list(groups[first_best(seen, scores)]) if groups else []


def merge(p_init, target_scale, target, group, source_scales, sources):
    mixed = p_init.astype(float).copy()
    for row in range(p_init.shape[0]):
        mixed[row] += target_scale[row] * target[row]
        for s in group:
            mixed[row] += source_scales[s][row] * sources[s][row]
    return mixed
