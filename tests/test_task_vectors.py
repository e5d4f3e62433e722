"""The algebra against an independent one in plain loops (reference_task_vectors)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_task_vectors as reference

from dtvg_jax import task_vectors
from dtvg_jax.errors import InputError

P, H = 5, 8
RULES = {
    "released": task_vectors.released,
    "target_only": task_vectors.target_only,
    "all_sources": task_vectors.all_sources,
    "positive_similarity": task_vectors.positive_similarity,
    "max_consistency": task_vectors.max_consistency,
    "greedy": task_vectors.greedy(1.0),
    "exhaustive": task_vectors.exhaustive(1.0),
}
JITTED = {name: jax.jit(rule) for name, rule in RULES.items()}
SIMILARITIES = jax.jit(task_vectors.similarities)
# How far float32 may be off, as a share of the largest squared norm or similarity.
ROUNDING = 2e-6


class Case:
    """A target and S sources, in values that float32 holds exactly where possible."""

    def __init__(self, count: int, seed: int, kind: str = "random"):
        rng = np.random.default_rng([count, seed])
        self.target = rng.normal(size=(P, H))
        self.sources = rng.normal(size=(count, P, H)) + 0.3 * self.target
        self.target_scale = rng.normal(1, 0.3, size=P)
        self.source_scales = rng.normal(1, 0.3, size=(count, P))
        self.p_init = rng.normal(size=(P, H))
        self.available = np.ones(count, bool)
        getattr(self, "_" + kind)(rng)
        for name, value in vars(self).items():
            if value.dtype != bool:
                setattr(self, name, value.astype(np.float32))

    def _random(self, rng):
        pass

    def _some_unavailable(self, rng):
        self.available = rng.random(len(self.sources)) < 0.6

    def _none_available(self, rng):
        self.available[:] = False

    def _zeros(self, rng):
        self.sources[rng.random(len(self.sources)) < 0.5] = 0

    def _zero_target(self, rng):
        self.target[:] = 0

    def _duplicates(self, rng):
        count = len(self.sources)
        self.sources = self.sources[rng.integers(0, min(2, count), count)]
        self.source_scales[:] = 1

    def _all_negative(self, rng):
        mean = np.sign(self.target.mean(axis=0))
        self.sources = -np.abs(self.sources) * mean
        self.source_scales[:] = 1
        self.target_scale[:] = 1

    def _negative_scales(self, rng):
        self.source_scales *= rng.choice([-1, 1], size=(len(self.sources), 1))

    def _ties(self, rng):
        # Small whole numbers: every product and sum is exact, so ties are real ones.
        self.target = rng.integers(-1, 2, (P, H)) * float(P)
        self.sources = rng.integers(-1, 2, self.sources.shape) * float(P)
        self.source_scales[:] = 1
        self.target_scale[:] = 1

    def _opposite(self, rng):
        half = len(self.sources) // 2
        self.sources[half : 2 * half] = -self.sources[:half]
        self.source_scales[:] = 1

    def arguments(self) -> tuple:
        return (
            self.target_scale,
            self.target,
            self.source_scales,
            self.sources,
            self.available,
        )

    def seen(self) -> task_vectors.Similarities:
        return SIMILARITIES(*self.arguments())


KINDS = [name[1:] for name in vars(Case) if name[1:2].islower() and name[0] == "_"]


def check_group(name: str, case: Case) -> None:
    """From vectors to group: ours in float32, the other one in exact comparisons."""
    ours = np.flatnonzero(JITTED[name](case.seen())).tolist()
    exact = reference.similarities(*case.arguments())
    assert ours == sorted(getattr(reference, name)(exact))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_similarities(kind, count):
    case = Case(count, 0, kind)
    seen = case.seen()
    mean = reference.mean_row(case.target_scale, case.target)
    rows = zip(case.source_scales, case.sources, strict=True)
    means = np.stack([reference.mean_row(scale, source) for scale, source in rows])
    largest = max(np.max(np.sum(means**2, axis=1)), mean @ mean)
    close = {"rtol": 0, "atol": ROUNDING * largest + 1e-30}
    np.testing.assert_allclose(seen.target, means @ mean, **close)
    np.testing.assert_allclose(seen.gram, means @ means.T, **close)


def test_similarity_of_two():
    case = Case(1, 0)
    pair = (case.target_scale, case.target, case.source_scales[0], case.sources[0])
    expected = reference.similarity(*pair)
    ours = task_vectors.similarity(*map(jnp.asarray, pair))
    assert float(ours) == pytest.approx(expected, rel=1e-5)
    # By hand: mean rows (2, 1) and (1, 4), so 2 * 1 + 1 * 4.
    a, b = jnp.array([[4.0, 0], [0, 1]]), jnp.array([[1.0, 4], [1, 4]])
    scale = jnp.array([1.0, 2])
    assert float(task_vectors.similarity(scale, a, jnp.ones(2), b)) == 6


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_groups_of_every_rule(name, kind):
    for count in (1, 2, 3, 7):
        for seed in range(12):
            check_group(name, Case(count, seed, kind))


@pytest.mark.parametrize("name", ["released", "positive_similarity", "greedy"])
@pytest.mark.parametrize("kind", KINDS)
def test_groups_among_forty(name, kind):
    for seed in range(3):
        check_group(name, Case(40, seed, kind))


@pytest.mark.parametrize("kind", ["random", "some_unavailable", "duplicates", "ties"])
def test_released_among_a_thousand(kind):
    """A prefix of the ranking, the best to rounding, and better than all before it."""
    seen = Case(1000, 0, kind).seen()
    ours = np.flatnonzero(JITTED["released"](seen)).tolist()
    exact = reference.whole(*seen)
    ranking, scores = reference.ranking(exact), reference.prefix_scores(exact)
    assert ours == sorted(ranking[: len(ours)]) and bool(ours) == bool(ranking)
    if ranking:
        largest = max(max(exact.gram[s][s], exact.target[s]) for s in ranking)
        mine = scores[len(ours) - 1]
        assert mine >= max(scores) - int(ROUNDING * largest)
        assert all(mine > earlier for earlier in scores[: len(ours) - 1])


def test_max_consistency_among_a_thousand_is_the_best_pair():
    seen = Case(1000, 0).seen()
    gram = np.asarray(seen.gram)
    best = max((gram[i, j], -i, -j) for i in range(1000) for j in range(i))
    ours = np.flatnonzero(JITTED["max_consistency"](seen)).tolist()
    assert ours == sorted([-best[1], -best[2]])


@pytest.mark.parametrize("count", [3, 40, 1000])
def test_duplicates_measure_the_same_to_the_last_bit(count):
    """Alone, and as a lane among others of the same or another seed."""
    case = Case(count, 0, "duplicates")
    alone = case.seen()
    lanes = jax.vmap(task_vectors.similarities, in_axes=(0, 0, 0, None, 0))
    seeds = jax.vmap(lanes, in_axes=(0, 0, 0, 0, 0))

    def repeat(x):
        return np.broadcast_to(x, (2, 3, *x.shape))

    scale, target, scales, _, available = map(repeat, case.arguments())
    sources = np.stack([case.sources, case.sources])
    many = jax.jit(seeds)(scale, target, scales, sources, available)
    _, copy_of = np.unique(case.sources.reshape(count, -1), axis=0, return_inverse=True)
    for seen in (alone, jax.tree.map(lambda x: x[1, 2], many)):
        for copies in (copy_of == 0, copy_of == 1):
            assert np.unique(np.asarray(seen.target)[copies]).size == 1
            assert np.unique(np.asarray(seen.gram)[copies][:, copies]).size == 1


def test_a_similarity_of_zero_counts_as_similar():
    # Sums of rows (2, -1) and (-2, -4): 0, unless 1/3 is rounded in between.
    target = jnp.array([[1.0, -4], [4, 0], [-3, 3]])
    source = jnp.array([[-2.0, 0], [4, -3], [-4, -1]])
    seen = SIMILARITIES(
        jnp.ones(3), target, jnp.ones((1, 3)), source[None], jnp.ones(1, bool)
    )
    assert float(seen.target[0]) == 0
    for name in ("released", "positive_similarity", "greedy", "exhaustive"):
        assert JITTED[name](seen).tolist() == [True]


def test_consistency_and_target_similarity_of_groups():
    case = Case(7, 3)
    seen = case.seen()
    unit = 2.0**-200
    exact = reference.similarities(*case.arguments())
    ours = jax.jit(
        lambda mask: (
            task_vectors.group_target_similarity(seen, mask),
            task_vectors.knowledge_consistency(seen, mask),
        )
    )
    for group in ([], [2], [0, 3], [1, 4, 6], list(range(7))):
        similar, consistent = ours(np.isin(np.arange(7), group))
        expected = float(reference.target_similarity(exact, group)) * unit
        assert float(similar) == pytest.approx(expected, rel=1e-5)
        expected = float(reference.consistency(exact, group)) * unit
        assert float(consistent) == pytest.approx(expected, rel=1e-5)


def seen_of(target, gram) -> task_vectors.Similarities:
    available = jnp.ones(len(target), bool)
    return task_vectors.Similarities(
        jnp.array(target, jnp.float32), jnp.array(gram, jnp.float32), available
    )


@pytest.mark.parametrize(
    ("target", "gram", "group"),
    [
        # Ranked 0, 2, 1: prefixes score 0, then 2, then 2 * (2 + 3 + 4) / 6 = 3.
        ([3, 1, 2], [[9, 3, 2], [3, 9, 4], [2, 4, 9]], [0, 1, 2]),
        # A weak third: 2 * (2 - 1 - 1) / 6 = 0 < 2, so the pair stays.
        ([3, 1, 2], [[9, -1, 2], [-1, 9, -1], [2, -1, 9]], [0, 2]),
        # All pairs negative: the prefix of one scores 0 and is the best.
        ([3, 1, 2], [[9, -1, -2], [-1, 9, -1], [-2, -1, 9]], [0]),
        # None similar to the target: the empty group.
        ([-3, -1, -2], [[9, 3, 2], [3, 9, 4], [2, 4, 9]], []),
        # Three duplicates: prefixes of two and three score the same, two are enough.
        ([1, 1, 1], [[0.1] * 3] * 3, [0, 1]),
        # A target vector of zeros: all are similar, ranked in source order.
        ([0, 0, 0], [[9, 1, 2], [1, 9, 8], [2, 8, 9]], [0, 1, 2]),
    ],
)
def test_released_by_hand(target, gram, group):
    mask = JITTED["released"](seen_of(target, gram))
    assert np.flatnonzero(mask).tolist() == group


def test_rounding_does_not_break_a_tie():
    # The third duplicate is better by the last bit of a float32.
    gram = np.full((3, 3), 0.1, np.float32)
    gram[:2, 2] = gram[2, :2] = np.nextafter(np.float32(0.1), np.float32(1))
    mask = JITTED["released"](seen_of([1, 1, 1], gram))
    assert mask.tolist() == [True, True, False]


@jax.jit
def merged_and_gradients(case_arguments, p_init, direction):
    """The merge by the released rule; gradients of its product with `direction`."""
    *trained, sources, available = case_arguments

    def loss(target_scale, target, source_scales):
        seen = task_vectors.similarities(
            target_scale, target, source_scales, sources, available
        )
        group = task_vectors.released(seen)
        mixed = task_vectors.merge(
            p_init, target_scale, target, group, source_scales, sources
        )
        return jnp.sum(direction * mixed), (mixed, group)

    return jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(*trained)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 6, 40])
def test_merge_and_its_gradients(kind, count):
    case = Case(count, 1, kind)
    direction = np.random.default_rng(0).normal(size=(P, H)).astype(np.float32)
    gradients, (mixed, group) = merged_and_gradients(
        case.arguments(), case.p_init, direction
    )
    d_scale, d_target, d_sources = gradients
    chosen = np.flatnonzero(group).tolist()
    expected = reference.merge(
        case.p_init,
        case.target_scale,
        case.target,
        chosen,
        case.source_scales,
        case.sources,
    )
    np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-5)
    for row in range(P):
        g = direction[row].astype(float)
        np.testing.assert_allclose(
            d_target[row], case.target_scale[row] * g, rtol=1e-5, atol=1e-6
        )
        assert d_scale[row] == pytest.approx(g @ case.target[row], rel=1e-4, abs=1e-5)
        for s in range(count):
            if s in chosen:
                exact = g @ case.sources[s, row]
                assert d_sources[s, row] == pytest.approx(exact, rel=1e-4, abs=1e-5)
            else:
                assert d_sources[s, row] == 0.0


def test_no_gradient_passes_through_what_a_rule_sees():
    given = map(jnp.asarray, Case(6, 0).arguments())
    scale, target, scales, sources, available = given

    def logged(scale, target, scales):
        seen = task_vectors.similarities(scale, target, scales, sources, available)
        return jnp.sum(seen.target) + jnp.sum(seen.gram)

    for gradient in jax.grad(logged, argnums=(0, 1, 2))(scale, target, scales):
        assert not np.any(gradient)


def test_a_changed_group_is_no_new_program():
    traces = []

    @jax.jit
    def group_of(*arguments):
        traces.append(1)
        return task_vectors.released(task_vectors.similarities(*arguments))

    cases = [Case(6, seed) for seed in range(20)]
    found = {tuple(group_of(*case.arguments()).tolist()) for case in cases}
    assert len(found) > 5 and len(traces) == 1


@pytest.mark.parametrize("name", RULES)
def test_rules_under_vmap(name):
    seen = [Case(7, seed).seen() for seed in range(4)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *seen)
    together = jax.jit(jax.vmap(RULES[name]))(stacked)
    for one, alone in zip(together, seen, strict=True):
        np.testing.assert_array_equal(one, JITTED[name](alone))


@pytest.mark.parametrize("name", RULES)
def test_no_source_at_all(name):
    empty = task_vectors.Similarities(
        jnp.zeros(0), jnp.zeros((0, 0)), jnp.zeros(0, bool)
    )
    assert RULES[name](empty).shape == (0,)


def test_exhaustive_says_how_many_it_takes():
    with pytest.raises(InputError, match="at most 12 sources, not 13; 'greedy' has no"):
        RULES["exhaustive"](Case(13, 0).seen())


def test_the_order_of_sources_matters_only_for_ties():
    seen = Case(7, 5).seen()
    order = np.random.default_rng(1).permutation(7)
    moved = task_vectors.Similarities(
        seen.target[order], seen.gram[order][:, order], seen.available[order]
    )
    for name, rule in JITTED.items():
        np.testing.assert_array_equal(rule(moved), rule(seen)[order], err_msg=name)
