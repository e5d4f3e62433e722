"""Bases of the first twelve tasks: short texts, and answers of one word.

Of the skill and layout pairs, those of rte, mrpc, cola and cb are left out, and of the
digits for classes those that the sources, boolq and wic use.
"""

import random

from . import layouts, skills, words, world
from .base import Base, in_text, laid_out, maps_without, two
from .world import chance, pick


def _three_way(rng: random.Random, label: int) -> str:
    return layouts.premise(*skills.inference(rng, label))


def _entails(rng: random.Random, yes: bool) -> str:
    label = skills.ENTAILMENT if yes else 1 + int(rng.random() * 2)
    return layouts.premise(*skills.inference(rng, label, reported=0.4))


def _settles(rng: random.Random, yes: bool) -> str:
    label = 2 * int(rng.random() * 2) if yes else skills.NEUTRAL
    return layouts.premise(*skills.inference(rng, label))


def _contradicts(rng: random.Random, yes: bool) -> str:
    label = skills.CONTRADICTION if yes else int(rng.random() * 2)
    return layouts.sentences(*skills.inference(rng, label, reported=0.4))


def _pair(rng: random.Random, change, yes: bool, holds: float = 0.7) -> str:
    """Write two statements alike in one part (what `change` keeps) and two at most."""
    fact = world.draw_fact(rng, chance(rng, holds))
    second = change(rng, fact, yes)._replace(holds=chance(rng, holds))
    return layouts.sentences(world.statement(rng, fact), world.statement(rng, second))


def _same_person(rng, fact, yes):
    fact = fact if yes else world.other_person(rng, fact)
    return world.other_relation(rng, fact) if chance(rng, 0.7) else fact


def _same_value(rng, fact, yes):
    fact = world.other_person(rng, fact) if chance(rng, 0.6) else fact
    return fact if yes else world.other_value(rng, fact)


def _same_relation(rng, fact, yes):
    fact = world.other_person(rng, fact) if chance(rng, 0.6) else fact
    return world.other_value(rng, fact) if yes else world.other_relation(rng, fact)


def _second_negated(rng: random.Random, yes: bool) -> str:
    first, second = (
        world.draw_fact(rng, chance(rng, 0.5)),
        world.draw_fact(rng, not yes),
    )
    if chance(rng, 0.5):
        second = second._replace(person=first.person)
    return layouts.sentences(world.statement(rng, first), world.statement(rng, second))


def _negated(rng: random.Random, yes: bool) -> str:
    if chance(rng, 0.5):
        return layouts.sentence(world.statement(rng, world.draw_fact(rng, not yes)))
    return layouts.sentence(world.clause(rng, chance(rng, 0.5), float(yes)))


def _well_formed(rng: random.Random, yes: bool, layout, first: bool) -> str:
    text = skills.acceptable(rng, yes)
    beside = skills.acceptable(rng, chance(rng, 0.5))
    return layout(text, beside) if first else layout(beside, text)


def _well_asked(rng: random.Random, yes: bool) -> str:
    fact, ask = world.draw_fact(rng), pick(rng, world.QUESTIONS)
    text = ask(rng, fact)
    beside = ask(rng, world.other_relation(rng, fact))
    return layouts.questions(text if yes else world.garble(rng, text), beside)


def _same_asked(rng: random.Random, yes: bool) -> str:
    """Two questions about the same person, or not."""
    fact = world.draw_fact(rng)
    second = world.other_relation(rng, fact)
    second = second if yes else world.other_person(rng, second)
    asks = (world.what_question, world.yes_no_question)
    return layouts.questions(pick(rng, asks)(rng, fact), pick(rng, asks)(rng, second))


def _about_same(rng: random.Random, yes: bool) -> str:
    """A question and a sentence about the same person, or not."""
    fact = world.draw_fact(rng)
    asked = fact if yes else world.other_person(rng, fact)
    if chance(rng, 0.6):
        asked = world.other_relation(rng, asked)
    return layouts.question_sentence(
        world.what_question(rng, asked), world.statement(rng, fact)
    )


def _agree(rng: random.Random, yes: bool, layout) -> str:
    good = chance(rng, 0.5)
    first = world.clause(rng, good)
    return layout(first, world.clause(rng, good == yes))


def _first_clause(rng: random.Random, yes: bool) -> str:
    but = chance(rng, 0.5)
    last = world.clause(rng, yes != but)
    middle = "but" if but else "and"
    return layouts.sentence(f"{world.clause(rng, yes)} {middle} {last}")


def _copy(rng: random.Random, layout, of_second: bool, part: str) -> tuple[str, str]:
    facts = [world.draw_fact(rng, chance(rng, 0.7)) for _ in range(2)]
    text = layout(*(world.statement(rng, fact) for fact in facts))
    return text, getattr(facts[of_second], part)


def _sense(rng: random.Random) -> tuple[str, str]:
    """The word's sense in the first sentence, named by the sense's first word."""
    one, two, word = skills.same_sense(rng, chance(rng, 0.5))
    sense = next(s for s in words.SENSES[word] if set(s) & set(one.split()))
    return layouts.word(one, two, word), sense[0]


def _company(rng: random.Random) -> tuple[str, str]:
    """The telling word of the second sentence."""
    one, two, word = skills.same_sense(rng, chance(rng, 0.5))
    senses = words.SENSES[word]
    near = next(w for w in two.split() if w in senses[0] + senses[1])
    return layouts.word(one, two, word), near


def _question_in_text(rng: random.Random) -> tuple[str, str]:
    question, text, answer = skills.value_in_text(rng)
    return layouts.question_context(question, text), answer


def _cloze(rng: random.Random) -> tuple[str, str]:
    query, people, text, answer = skills.person_in_text(rng)
    return layouts.record(query, people, text), answer


def _first_entity(rng: random.Random) -> tuple[str, str]:
    """In the layout of the cloze: the first of the people."""
    query, people, text, _ = skills.person_in_text(rng)
    return layouts.record(query, people, text), people[0]


def short_bases() -> tuple[Base, ...]:
    """List the bases of the first twelve tasks."""
    three = ("yes", "maybe", "no")
    premise, pairs = layouts.premise, layouts.sentences
    return (
        Base("mnli", _three_way, three, maps_without("012"), True, 1.5),
        two(
            "qnli",
            laid_out(skills.answered, layouts.question_sentence),
            "01",
            True,
            1.5,
        ),
        two("qqp", laid_out(skills.duplicate, layouts.questions), "10", True, 1.5),
        two("sst2", _lay_one(world.opinion), "10", True),
        in_text("squad", _question_in_text, True),
        in_text("record", _cloze, True),
        two("boolq", laid_out(skills.truth, layouts.question_passage), "10", True, 1.5),
        two("wic", laid_out(skills.same_sense, layouts.word), "10", True),
        two("entails", _entails, early=True, weight=1.5),
        two("paraphrase", laid_out(skills.paraphrase, premise), early=True, weight=1.5),
        two("same_person", lambda r, y: _pair(r, _same_person, y), early=True),
        two(
            "well_formed",
            lambda r, y: _well_formed(r, y, premise, False),
            early=True,
            weight=1.5,
        ),
        in_text("copy_value", lambda r: _copy(r, premise, True, "value"), True),
        in_text("sense", _sense, True),
        two("contradicts", _contradicts, weight=1.5),
        two("settles", _settles),
        two("same_value", lambda r, y: _pair(r, _same_value, y)),
        two("same_relation", lambda r, y: _pair(r, _same_relation, y)),
        two("second_negated", _second_negated),
        two("negated", _negated),
        two("first_formed", lambda r, y: _well_formed(r, y, pairs, True), weight=1.5),
        two("well_asked", _well_asked),
        two("same_asked", _same_asked),
        two("about_same", _about_same),
        two("agree", lambda r, y: _agree(r, y, pairs)),
        two("first_clause", _first_clause),
        in_text("copy_person", lambda r: _copy(r, pairs, True, "person")),
        in_text("company", _company),
        in_text("first_entity", _first_entity),
    )


def _lay_one(draw):
    return lambda rng, yes: layouts.sentence(draw(rng, yes))
