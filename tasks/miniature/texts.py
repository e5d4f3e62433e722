"""Data to be written about, with the texts that may be written."""

import random

from . import passages, words, world
from .world import Fact, pick


def described(rng: random.Random) -> tuple[str, list[str]]:
    """Describe one person as slots with values, and in two texts (E2E)."""
    facts = _of_one(rng, 1 + int(rng.random() * 3))
    slots = [("name", facts[0].person), *((f.relation.noun, f.value) for f in facts)]
    data = " , ".join(f"{slot}[ {value} ]" for slot, value in slots)
    verbs = [f"{f.relation.verb} {f.value}" for f in facts]
    nouns = [f"the {f.relation.noun} of {f.person} is {f.value}" for f in facts]
    return data, [f"{facts[0].person} {' and '.join(verbs)}", " and ".join(nouns)]


def triples(rng: random.Random) -> tuple[list[str], list[str]]:
    """Give facts as "subject | property | object", and two texts (WebNLG)."""
    facts = passages.facts_of(rng, 1 + int(rng.random() * 3))
    data = [f"{f.person} | {f.relation.noun} | {f.value}" for f in facts]
    tells = (world.STATEMENTS[0], world.STATEMENTS[1])
    return data, [" and ".join(map(tell, facts)) for tell in tells]


def concepts(rng: random.Random) -> tuple[list[str], list[str]]:
    """Give the bare words of one or two facts, and the texts that use them."""
    facts = passages.facts_of(rng, 1 + int(rng.random() * 2))
    bare = [(f.person, f.relation.base.split()[0], f.value) for f in facts]
    told = [" and ".join(map(world.STATEMENTS[0], facts))]
    if len(facts) == 2:
        told.append(" and ".join(map(world.STATEMENTS[0], reversed(facts))))
    return list(dict.fromkeys(sorted(word for fact in bare for word in fact))), told


def _of_one(rng: random.Random, count: int) -> list[Fact]:
    person = pick(rng, words.PEOPLE)
    facts: list[Fact] = []
    while len(facts) < count:
        fact = world.draw_fact(rng)._replace(person=person)
        if all(f.relation != fact.relation for f in facts):
            facts.append(fact)
    return facts
