"""What can be asked of the world: one function per skill, answer first, text after.

Each function gets the wanted answer and writes a text for which it is the right one,
so classes are balanced by construction. How a text is laid out as a task is not known
here (layouts.py).
"""

import random

from . import words, world
from .world import Fact, chance, other, pick

ENTAILMENT, NEUTRAL, CONTRADICTION = 0, 1, 2


def inference(
    rng: random.Random, answer: int, reported: float = 0.0
) -> tuple[str, str]:
    """Write premise and hypothesis; everybody has one value per relation.

    reported: share of premises that are told by somebody ("Ann says that ...").
    """
    fact = world.draw_fact(rng, holds=chance(rng, 0.85))
    facts = [fact, world.beside(rng, fact)] if chance(rng, 0.35) else [fact]
    hypothesis = _hypothesis(rng, answer, facts)
    premise = world.passage(rng, facts)
    if reported and chance(rng, reported):
        teller = other(rng, words.PEOPLE, *(f.person for f in facts))
        premise = f"{teller} {pick(rng, words.REPORTS)} that {premise}"
    return premise, world.statement(rng, hypothesis)


def _hypothesis(rng: random.Random, answer: int, facts: list[Fact]) -> Fact:
    """Draw what follows from the first fact, is ruled out by it, or is open."""
    fact = facts[0]
    if answer == NEUTRAL:
        return _open_question(rng, facts)
    if not fact.holds:
        return fact._replace(holds=answer == CONTRADICTION)
    if answer == ENTAILMENT:
        if chance(rng, 0.7):
            return fact
        return world.other_value(rng, fact)._replace(holds=False)
    if chance(rng, 0.35):
        return fact._replace(holds=False)
    return world.other_value(rng, fact)


def _open_question(rng: random.Random, facts: list[Fact]) -> Fact:
    """Draw a fact that the given ones leave open."""
    fact, holds = facts[0], chance(rng, 0.67)
    if not fact.holds and chance(rng, 0.3):  # not in Rome: in Paris, perhaps
        return world.other_value(rng, fact)._replace(holds=holds)
    told = {f.person: f.relation for f in facts}
    if chance(rng, 0.5):
        person = other(rng, words.PEOPLE, fact.person)
        if len(facts) == 2 and chance(rng, 0.5):
            person = facts[1].person
        if told.get(person) is not fact.relation:
            return fact._replace(person=person, holds=holds)
    return world.other_relation(rng, fact)._replace(holds=holds)


def paraphrase(rng: random.Random, same: bool) -> tuple[str, str]:
    """Write two statements of one or two facts that say the same, or nearly."""
    fact = world.draw_fact(rng, holds=chance(rng, 0.8))
    facts = [fact, world.beside(rng, fact)] if chance(rng, 0.5) else [fact]
    return world.passage(rng, facts), world.passage(rng, _altered(rng, facts, same))


def _altered(rng: random.Random, facts: list[Fact], same: bool) -> list[Fact]:
    """Change one thing about one of the facts unless they are to stay the same."""
    if same:
        return facts
    i = int(rng.random() * len(facts))
    fact, form = facts[i], rng.random()
    if form < 0.3:
        fact = world.other_person(rng, fact, *(f.person for f in facts))
    elif form < 0.6:
        fact = world.other_value(rng, fact)
    elif form < 0.8:
        fact = world.other_relation(rng, fact)
    else:
        i, fact = 0, facts[0]._replace(holds=not facts[0].holds)
    if len(facts) == 2 and chance(rng, 0.3) and facts[0].relation is facts[1].relation:
        return [
            facts[0]._replace(value=facts[1].value),
            facts[1]._replace(value=facts[0].value),
        ]
    return [*facts[:i], fact, *facts[i + 1 :]]


def duplicate(rng: random.Random, same: bool) -> tuple[str, str]:
    """Write two questions that ask for the same thing, or for nearly the same."""
    fact, ask = world.draw_fact(rng), pick(rng, world.QUESTIONS)
    if same:
        return ask(rng, fact), ask(rng, fact)
    form = rng.random()
    if form < 0.15:
        return ask(rng, fact), other(rng, world.QUESTIONS, ask)(rng, fact)
    if ask is world.who_question:
        change = world.other_value if form < 0.6 else world.other_relation
    elif ask is world.what_question:
        change = world.other_person if form < 0.6 else world.other_relation
    else:
        changes = (world.other_person, world.other_value, world.other_relation)
        change = pick(rng, changes)
    return ask(rng, fact), ask(rng, change(rng, fact))


def answered(rng: random.Random, yes: bool) -> tuple[str, str]:
    """Write a question, and a sentence that answers it or only seems to."""
    fact = world.draw_fact(rng)
    facts = [fact, world.beside(rng, fact)] if chance(rng, 0.35) else [fact]
    who = chance(rng, 0.5)
    asked = fact if yes else _unanswered(rng, facts, who)
    ask = world.who_question if who else world.what_question
    return ask(rng, asked), world.passage(rng, facts)


def _unanswered(rng: random.Random, facts: list[Fact], who: bool) -> Fact:
    """Draw a fact of which the facts do not tell the person (who) or the value."""

    def key(fact: Fact):
        return fact.relation.noun, fact.value if who else fact.person

    known = {key(fact) for fact in facts}
    while True:
        fact = pick(rng, facts)
        change = world.other_value if who else world.other_person
        if chance(rng, 0.5):
            change = world.other_relation
        if key(asked := change(rng, fact)) not in known:
            return asked


def truth(rng: random.Random, yes: bool) -> tuple[str, str]:
    """Write a yes-or-no question and a passage of two facts that settles it."""
    fact = world.draw_fact(rng)
    second = world.beside(rng, fact)
    asked = fact
    if not yes:
        asked = world.other_value(rng, fact)
        if second.relation is fact.relation and chance(rng, 0.6):
            asked = fact._replace(value=second.value)
    return world.yes_no_question(rng, asked), world.passage(rng, (fact, second))


def acceptable(rng: random.Random, ok: bool) -> str:
    """Write a sentence, well formed or not.

    Half of the bad ones are out of order (`Ann golf plays`), half do not fit together:
    an adverb against the opinion (`sadly the film was good`), a `but` that turns
    nothing, an `and` that turns.
    """
    form = rng.random()
    if form < 0.5:
        facts = chance(rng, 0.7)
        text = world.statement(rng, world.draw_fact(rng, chance(rng, 0.8)))
        text = text if facts else world.opinion(rng, chance(rng, 0.5))
        return text if ok else world.garble(rng, text)
    good = chance(rng, 0.5)
    if form < 0.85:
        glad = good if ok else not good
        adverb = pick(rng, words.GLADLY if glad else words.SADLY)
        return f"{adverb} {world.clause(rng, good)}"
    but = chance(rng, 0.5)
    turns = but if ok else not but
    first = world.clause(rng, good != turns, negation=0.0)
    middle = "but" if but else "and"
    return f"{first} {middle} {world.clause(rng, good, negation=0.0)}"


def same_sense(rng: random.Random, same: bool) -> tuple[str, str, str]:
    """Write two uses of a word in the same sense or not, and the word."""
    word = pick(rng, tuple(words.SENSES))
    first, second = words.SENSES[word]
    if chance(rng, 0.5):
        first, second = second, first
    near = pick(rng, first)
    far = other(rng, first if same else second, near)
    return world.usage(rng, word, near), world.usage(rng, word, far), word


def value_in_text(rng: random.Random) -> tuple[str, str, str]:
    """Write a question, a context of two facts and the answer, a word of it."""
    fact = world.draw_fact(rng)
    second = world.beside(rng, fact)
    text = world.passage(rng, (fact, second))
    if chance(rng, 0.7):
        return world.what_question(rng, fact), text, fact.value
    return world.who_question(rng, fact), text, fact.person


def person_in_text(rng: random.Random) -> tuple[str, list[str], str, str]:
    """Write a statement with its person left out, the people, a passage, the person."""
    fact = world.draw_fact(rng)
    second = world.beside(rng, fact)
    query = world.statement(rng, fact, subject="@placeholder")
    people = sorted((fact.person, second.person))
    return query, people, world.passage(rng, (fact, second)), fact.person


def likeness(rng: random.Random) -> tuple[str, str, float]:
    """Write up to three facts twice, and how alike they are: 0.0 to 5.0, the mean.

    A fact counts 5 if it is told again, 3 if only its value or its denial differs, 2
    if it is told of somebody else, 0 if person and relation differ.
    """
    facts = [world.draw_fact(rng, chance(rng, 0.85))]
    while len(facts) < 3 and chance(rng, 0.6):
        facts.append(world.other_person(rng, world.draw_fact(rng), facts[-1].person))
    told, scores = [], []
    for fact in facts:
        form = rng.random()
        if form < 0.4:
            again, score = fact, 5
        elif form < 0.55:
            again, score = world.other_value(rng, fact), 3
        elif form < 0.65:
            again, score = fact._replace(holds=not fact.holds), 3
        elif form < 0.8:
            again, score = world.other_person(rng, fact), 2
        else:
            again, score = world.other_relation(rng, world.other_person(rng, fact)), 0
        told.append(again)
        scores.append(score)
    texts = [" and ".join(world.statement(rng, f) for f in fs) for fs in (facts, told)]
    return texts[0], texts[1], sum(scores) / len(scores)


def reordered(rng: random.Random, same: bool) -> tuple[str, str]:
    """Write two facts of one relation, and the same words again, in another order.

    The meaning is the same where facts change places, another where values do.
    """
    fact = world.draw_fact(rng)
    second = world.other_value(rng, world.other_person(rng, fact))
    tell = pick(rng, world.STATEMENTS)
    turned = [second, fact]
    if not same:
        turned = [
            fact._replace(value=second.value),
            second._replace(value=fact.value),
        ]
        if chance(rng, 0.5):
            turned.reverse()
    texts = [" and ".join(map(tell, facts)) for facts in ([fact, second], turned)]
    return texts[0], texts[1]


def bound(rng: random.Random, holds: bool) -> tuple[str, str]:
    """Write two facts of one relation, and one of them again or with the other's value.

    What `reordered` asks of both facts, asked of one.
    """
    fact = world.draw_fact(rng)
    second = world.other_value(rng, world.other_person(rng, fact))
    tell = pick(rng, world.STATEMENTS)
    told = fact if holds else fact._replace(value=second.value)
    facts = [fact, second] if chance(rng, 0.5) else [second, fact]
    return " and ".join(map(tell, facts)), tell(told)


def pronoun(rng: random.Random, same: bool) -> tuple[str, str, str]:
    """Write facts of a woman, a man, and one of them as "he" or "she".

    Returns the text, one of the names and the pronoun; `same`: it means that name.
    """
    people = [pick(rng, words.WOMEN), pick(rng, words.MEN)]
    if chance(rng, 0.5):
        people.reverse()
    meant = pick(rng, people)
    fact = world.draw_fact(rng)._replace(person=people[0])
    second = world.other_relation(rng, fact)._replace(person=people[1])
    third = world.other_relation(rng, fact, second.relation)
    said = "she" if meant in words.WOMEN else "he"
    parts = [world.statement(rng, f) for f in (fact, second)]
    parts.append(f"{said} {third.relation.verb} {third.value}")
    name = meant if same else people[meant == people[0]]
    return " and ".join(parts), name, said


def blank(rng: random.Random, answer: int) -> tuple[str, list[str]]:
    """Write what two people have, and of which of them ("_") one thing is so.

    Returns the text and the two people, in any order; `answer` fills the blank.
    """
    fact = world.draw_fact(rng)
    second = world.other_value(rng, world.other_person(rng, fact))
    facts = [fact, second]
    of = pick(rng, facts)
    text = f"{world.passage(rng, facts)} so {world.statement(rng, of, subject='_')}"
    others = [f.person for f in facts if f is not of]
    return text, [of.person, *others] if answer == 0 else [*others, of.person]


def review(rng: random.Random, good: bool) -> str:
    """Write several opinions among facts that do not matter; the last one decides."""
    parts = []
    for _ in range(1 + int(rng.random() * 3)):
        parts.append(world.opinion(rng, chance(rng, 0.5)))
        if chance(rng, 0.5):
            parts.append(world.statement(rng, world.draw_fact(rng)))
    parts.append(world.opinion(rng, good))
    if chance(rng, 0.3):
        parts.append(world.statement(rng, world.draw_fact(rng)))
    return pick(rng, (" and then ", " \\n ")).join(parts)
