"""The algebra against an independent one in plain loops (reference_task_vectors)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_task_vectors as reference

from dtvg_jax import task_vectors

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

    def seen(self) -> task_vectors.Similarities:
        return SIMILARITIES(
            self.target_scale,
            self.target,
            self.source_scales,
            self.sources,
            self.available,
        )


KINDS = [name[1:] for name in vars(Case) if name[1:2].islower() and name[0] == "_"]


def groups(name, case):
    """The rule's group, and the reference's from the same float32 similarities.

    Rules see what float32 measured: from there on both must choose the same, while
    similarities themselves are compared by value.
    """
    seen = case.seen()
    ours = np.flatnonzero(np.asarray(JITTED[name](seen))).tolist()
    exact = task_vectors.Similarities(*(np.asarray(x, float) for x in seen))
    return ours, sorted(getattr(reference, name)(exact))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_similarities(kind, count):
    case = Case(count, 0, kind)
    seen = case.seen()
    rows = list(zip(case.source_scales, case.sources, strict=True))
    for s, (scale, source) in enumerate(rows):
        expected = reference.similarity(scale, source, case.target_scale, case.target)
        assert seen.target[s] == pytest.approx(expected, rel=1e-4, abs=1e-5)
        for t, (other_scale, other) in enumerate(rows):
            expected = reference.similarity(scale, source, other_scale, other)
            assert seen.gram[s, t] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    ours = task_vectors.similarity(
        case.target_scale, case.target, case.source_scales[0], case.sources[0]
    )
    assert ours == pytest.approx(float(seen.target[0]), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_groups_of_every_rule(name, kind):
    for count in (1, 2, 3, 7):
        for seed in range(12):
            ours, expected = groups(name, Case(count, seed, kind))
            assert ours == expected, (count, seed)


@pytest.mark.parametrize("name", ["released", "positive_similarity", "all_sources"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [40, 1000])
def test_groups_of_many_sources(name, kind, count):
    ours, expected = groups(name, Case(count, 0, kind))
    assert ours == expected


def test_greedy_among_forty():
    for seed in range(5):
        ours, expected = groups("greedy", Case(40, seed))
        assert ours == expected


def test_consistency_and_target_similarity_of_groups():
    case = Case(7, 3)
    seen = case.seen()
    for group in ([], [2], [0, 3], [1, 4, 6], list(range(7))):
        mask = np.isin(np.arange(7), group)
        for ours, theirs in (
            (task_vectors.group_target_similarity, reference.target_similarity),
            (task_vectors.knowledge_consistency, reference.consistency),
        ):
            exact = float(theirs(seen, group))
            assert float(ours(seen, mask)) == pytest.approx(exact, rel=1e-5)


def test_released_by_hand():
    # Ranked 0, 2, 1; prefixes score 0, G02 = 2, (2 * (2 + 3 + 4)) / 6 = 3: all three.
    gram = np.array([[9, 3, 2], [3, 9, 4], [2, 4, 9]], np.float32)
    seen = task_vectors.Similarities(np.float32([3, 1, 2]), gram, np.ones(3, bool))
    assert task_vectors.released(seen).tolist() == [True, True, True]
    # A weak third: (2 * (2 - 1 - 1)) / 6 = 0 < 2, so the pair stays.
    gram[0, 1] = gram[1, 0] = gram[1, 2] = gram[2, 1] = -1
    seen = seen._replace(gram=gram)
    assert task_vectors.released(seen).tolist() == [True, False, True]
    # All pairs negative: the prefix of one scores 0 and is the best.
    seen = seen._replace(gram=-np.abs(gram) + 18 * np.eye(3, dtype=np.float32))
    assert task_vectors.released(seen).tolist() == [True, False, False]
    seen = seen._replace(target=-np.ones(3, np.float32))
    assert not task_vectors.released(seen).any()


def test_equal_prefixes_give_the_smaller_group():
    # Three duplicates: every prefix of two or more scores the same.
    seen = task_vectors.Similarities(
        np.float32([1, 1, 1]), np.full((3, 3), 0.1, np.float32), np.ones(3, bool)
    )
    assert task_vectors.released(seen).tolist() == [True, True, False]


@pytest.mark.parametrize("kind", ["random", "some_unavailable", "negative_scales"])
@pytest.mark.parametrize("count", [1, 6, 40])
def test_merge_and_its_gradients(kind, count):
    case = Case(count, 1, kind)
    direction = np.random.default_rng(0).normal(size=(P, H)).astype(np.float32)

    def loss(target, target_scale, source_scales):
        seen = task_vectors.similarities(
            target_scale, target, source_scales, case.sources, case.available
        )
        group = task_vectors.released(seen)
        mixed = task_vectors.merge(
            case.p_init, target_scale, target, group, source_scales, case.sources
        )
        return jnp.sum(direction * mixed), (mixed, group)

    arguments = (case.target, case.target_scale, case.source_scales)
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    (d_target, d_scale, d_sources), (mixed, group) = gradient(*arguments)
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


def test_a_changed_group_is_no_new_program():
    rule = jax.jit(lambda seen: task_vectors.released(seen))
    found = {tuple(np.asarray(rule(Case(6, seed).seen()))) for seed in range(20)}
    assert len(found) > 5 and rule._cache_size() == 1


@pytest.mark.parametrize("name", RULES)
def test_rules_under_vmap(name):
    seen = [Case(7, seed).seen() for seed in range(4)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *seen)
    together = jax.vmap(RULES[name])(stacked)
    for one, alone in zip(together, seen, strict=True):
        np.testing.assert_array_equal(one, RULES[name](alone))


@pytest.mark.parametrize("name", RULES)
def test_no_source_at_all(name):
    empty = task_vectors.Similarities(
        jnp.zeros(0), jnp.zeros((0, 0)), jnp.zeros(0, bool)
    )
    assert RULES[name](empty).shape == (0,)


def test_exhaustive_says_how_many_it_takes():
    with pytest.raises(ValueError, match="at most 12 sources, not 13; 'greedy' has no"):
        RULES["exhaustive"](Case(13, 0).seen())


@functools.cache
def _random_seen():
    return Case(7, 5).seen()


def test_the_order_of_sources_matters_only_for_ties():
    seen = _random_seen()
    order = np.random.default_rng(1).permutation(7)
    moved = task_vectors.Similarities(
        seen.target[order], seen.gram[order][:, order], seen.available[order]
    )
    for name, rule in RULES.items():
        np.testing.assert_array_equal(rule(moved), rule(seen)[order], err_msg=name)
