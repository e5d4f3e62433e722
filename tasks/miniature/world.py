"""Sentences of the world: facts, questions, opinions, uses of two-sense words.

Everything is drawn from a `random.Random` through its `random()` alone, the one
method whose stream Python promises to keep, so a seed means the same rows anywhere.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from . import words
from .words import Relation

T = TypeVar("T")


class Fact(NamedTuple):
    """One thing said of a person; `holds` is False for a negated one."""

    person: str
    relation: Relation
    value: str
    holds: bool = True


def pick(rng: random.Random, items: Sequence[T]) -> T:
    """Draw one of the items."""
    return items[int(rng.random() * len(items))]


def other(rng: random.Random, items: Sequence[T], *taken: T) -> T:
    """Draw one of the items that is none of those taken."""
    while (item := pick(rng, items)) in taken:
        pass
    return item


def chance(rng: random.Random, p: float) -> bool:
    """Return True with probability p."""
    return rng.random() < p


def draw_fact(rng: random.Random, holds: bool = True) -> Fact:
    """Draw a fact about anybody."""
    relation = pick(rng, words.RELATIONS)
    return Fact(pick(rng, words.PEOPLE), relation, pick(rng, relation.values), holds)


def other_person(rng: random.Random, fact: Fact, *taken: str) -> Fact:
    """Say the same of somebody else."""
    return fact._replace(person=other(rng, words.PEOPLE, fact.person, *taken))


def other_value(rng: random.Random, fact: Fact) -> Fact:
    """Say another value of the same person and relation."""
    return fact._replace(value=other(rng, fact.relation.values, fact.value))


def other_relation(rng: random.Random, fact: Fact, *taken: Relation) -> Fact:
    """Say something of the same person in another relation."""
    relation = other(rng, words.RELATIONS, fact.relation, *taken)
    return fact._replace(relation=relation, value=pick(rng, relation.values))


def beside(rng: random.Random, fact: Fact) -> Fact:
    """Draw a fact to stand beside another: somebody else, one time in three alike."""
    second = other_value(rng, other_person(rng, fact))._replace(holds=True)
    return second if chance(rng, 0.35) else other_relation(rng, second)


STATEMENTS = (  # of what is so; the subject is the person or what stands for it
    lambda f: f"{f.person} {f.relation.verb} {f.value}",
    lambda f: f"the {f.relation.noun} of {f.person} is {f.value}",
    lambda f: f"{f.value} is the {f.relation.noun} of {f.person}",
)


def statement(rng: random.Random, fact: Fact, subject: str | None = None) -> str:
    """Write a fact in one of three forms (two if negated)."""
    x, r, v = subject or fact.person, fact.relation, fact.value
    if fact.holds:
        return pick(rng, STATEMENTS)(fact._replace(person=x))
    forms = (f"{x} does not {r.base} {v}", f"the {r.noun} of {x} is not {v}")
    return pick(rng, forms)


def passage(rng: random.Random, facts: Sequence[Fact]) -> str:
    """Write facts one after the other, in a drawn order."""
    parts = [statement(rng, fact) for fact in facts]
    if len(parts) == 2 and chance(rng, 0.5):
        parts.reverse()
    return " and ".join(parts)


def what_question(rng: random.Random, fact: Fact) -> str:
    """Ask for the value of a fact."""
    r = fact.relation
    forms = (r.what.format(x=fact.person), f"what is the {r.noun} of {fact.person}")
    return pick(rng, forms)


def who_question(rng: random.Random, fact: Fact) -> str:
    """Ask for the person of a fact."""
    r = fact.relation
    return pick(rng, (f"who {r.verb} {fact.value}", f"whose {r.noun} is {fact.value}"))


def yes_no_question(rng: random.Random, fact: Fact) -> str:
    """Ask whether a fact is so."""
    x, r, v = fact.person, fact.relation, fact.value
    return pick(rng, (f"does {x} {r.base} {v}", f"is {v} the {r.noun} of {x}"))


QUESTIONS = (what_question, who_question, yes_no_question)


def clause(rng: random.Random, good: bool, negation: float = 0.3) -> str:
    """Write an opinion of one clause, at times by the negated opposite."""
    negated = chance(rng, negation)
    adjective = pick(rng, words.GOOD if good != negated else words.BAD)
    middle = "not " if negated else "very " if chance(rng, 0.3) else ""
    return f"the {pick(rng, words.THINGS)} was {middle}{adjective}"


def opinion(rng: random.Random, good: bool) -> str:
    """Write an opinion; of two clauses the last decides, `but` turns, `and` goes on."""
    last = clause(rng, good)
    form = rng.random()
    if form < 0.3:
        return f"{pick(rng, words.GLADLY if good else words.SADLY)} {last}"
    if form < 0.5:
        return f"{clause(rng, not good)} but {last}"
    if form < 0.65:
        return f"{clause(rng, good)} and {last}"
    return last


def usage(rng: random.Random, word: str, near: str) -> str:
    """Write a sentence that uses a two-sense word near a telling one."""
    x, verb = pick(rng, words.PEOPLE), pick(rng, words.SIGHTS)
    where = f"{pick(rng, words.PLACES)} the {near}"
    forms = (f"{x} {verb} the {word} {where}", f"{where} {x} {verb} the {word}")
    return pick(rng, forms)


def garble(rng: random.Random, text: str) -> str:
    """Spoil the word order: two neighbours swapped, or a word said twice.

    The first word stays: `is Rome the home of Ann` would be a good question.
    """
    parts = text.split()
    i = 1 + int(rng.random() * (len(parts) - 2))
    if chance(rng, 0.5):
        parts[i], parts[i + 1] = parts[i + 1], parts[i]
    else:
        parts.insert(i, parts[i])
    return " ".join(parts)
