"""Longer texts to be asked about, with the markup that the real ones carry."""

import random

from . import words, world
from .world import Fact, chance, other, pick

Question = tuple[str, str, list[str]]  # with its context and all its answers


def facts_of(rng: random.Random, count: int) -> list[Fact]:
    """Draw facts of few people, each about something else; values may come again."""
    people = [pick(rng, words.PEOPLE)]
    while len(people) < 2 + count // 3:
        people.append(other(rng, words.PEOPLE, *people))
    facts: list[Fact] = []
    while len(facts) < count:
        fact = world.draw_fact(rng)._replace(person=pick(rng, people))
        if facts and chance(rng, 0.25):  # somebody else alike
            fact = pick(rng, facts)._replace(person=fact.person)
        if all((f.person, f.relation) != (fact.person, fact.relation) for f in facts):
            facts.append(fact)
    return facts


def ask(rng: random.Random, facts: list[Fact], fact: Fact) -> tuple[str, list[str]]:
    """Ask for the value of a fact, or for whom it is so; give all right answers."""
    if chance(rng, 0.5):
        return world.what_question(rng, fact), [fact.value]
    alike = (fact.relation, fact.value)
    people = [f.person for f in facts if (f.relation, f.value) == alike]
    return world.who_question(rng, fact), people


def numbered(
    rng: random.Random,
) -> tuple[str, list[tuple[str, list[tuple[str, bool]]]]]:
    """Write a paragraph of numbered sentences, and questions with answers (MultiRC).

    Of the answers to a question some are right.
    """
    facts = facts_of(rng, 3 + int(rng.random() * 3))
    told = [world.statement(rng, fact) for fact in facts]
    sentences = [f"<b>Sent {i}: </b>{text}<br>" for i, text in enumerate(told, 1)]
    questions = []
    for fact in facts[: 1 + int(rng.random() * 2)]:
        question, right = ask(rng, facts, fact)
        kind = fact.relation.values if right == [fact.value] else words.PEOPLE
        wrong = [other(rng, kind, *right) for _ in range(1 + int(rng.random() * 2))]
        answers = [(answer, True) for answer in right]
        answers += [(answer, False) for answer in dict.fromkeys(wrong)]
        questions.append((question, _shuffled(rng, answers)))
    return "".join(sentences), questions


def page(rng: random.Random) -> Question:
    """Write a page with paragraph tags (Natural Questions)."""
    facts = facts_of(rng, 3 + int(rng.random() * 2))
    question, answers = ask(rng, facts, pick(rng, facts))
    told = [world.statement(rng, fact) for fact in facts]
    return question, " ".join(f"<P> {text} </P>" for text in told), answers


def two_hops(rng: random.Random) -> Question:
    """Write two titled texts; who is meant stands in the one, the answer in the other.

    HotpotQA's markup.
    """
    fact = world.draw_fact(rng)
    person = other(rng, words.PEOPLE, fact.person)
    beside = world.other_value(rng, fact)._replace(person=person)
    pages = [
        (person, f"{_friend(rng, person, fact.person)} and "),
        (fact.person, ""),
    ]
    told = [world.statement(rng, beside), world.statement(rng, fact)]
    parts = [
        f"[PAR] [TLE] {title} [SEP] {lead}{text}"
        for (title, lead), text in zip(pages, told, strict=True)
    ]
    whom = fact._replace(person=f"the friend of {person}")
    if chance(rng, 0.5):
        parts.reverse()
    return world.what_question(rng, whom), " ".join(parts), [fact.value]


def news(rng: random.Random) -> Question:
    """Write a story in which people tell of each other, with opinions (NewsQA)."""
    facts = facts_of(rng, 3)
    parts = []
    for fact in facts:
        teller = other(rng, words.PEOPLE, fact.person)
        parts.append(
            f"{teller} {pick(rng, words.REPORTS)} that {world.statement(rng, fact)}"
        )
    parts.insert(int(rng.random() * 3), world.clause(rng, chance(rng, 0.5)))
    question, answers = ask(rng, facts, pick(rng, facts))
    return question, " and then ".join(parts), answers


def search(rng: random.Random) -> Question:
    """Write what was found for a clue, a text for each person (SearchQA)."""
    facts = facts_of(rng, 4)
    people = list(dict.fromkeys(fact.person for fact in facts))
    pages = []
    for person in people:
        told = [world.statement(rng, f) for f in facts if f.person == person]
        pages.append(f"[DOC] [TLE] {person} [PAR] {' and '.join(told)}")
    fact = pick(rng, facts)
    if chance(rng, 0.5):
        return (
            f"the {fact.relation.noun} of {fact.person}",
            " ".join(pages),
            [fact.value],
        )
    alike = (fact.relation, fact.value)
    answers = [f.person for f in facts if (f.relation, f.value) == alike]
    return f"this person {fact.relation.verb} {fact.value}", " ".join(pages), answers


def _friend(rng: random.Random, one: str, two: str) -> str:
    return pick(rng, (f"the friend of {one} is {two}", f"{two} is the friend of {one}"))


def _shuffled(rng: random.Random, items: list) -> list:
    left, found = list(items), []
    while left:
        found.append(left.pop(int(rng.random() * len(left))))
    return found
