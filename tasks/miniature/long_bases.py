"""Bases of the tasks beyond the first twelve: longer texts, and answers of many words.

Never shown are scitail (mnli's skill with one class less) and searchqa's layout, paws'
skill in its own layout, and the digits that wsc.fixed, winogrande, yelp_polarity and
multirc use for their classes.
"""

import random
import re

from . import layouts, passages, skills, texts, words, world
from .base import MAPS, Base, laid_out, maps_without, two
from .world import chance, other, pick


def long_bases() -> tuple[Base, ...]:
    """List the bases of the tasks beyond the first twelve."""
    return (
        two("bound", laid_out(skills.bound, layouts.premise), early=True),
        two("reordered", laid_out(skills.reordered, layouts.premise), "10", weight=0.7),
        Base("meant", _meant),
        two("pronoun", _pronoun, "10", weight=0.7),
        two("review", lambda r, y: layouts.sentence(skills.review(r, y)), "10"),
        two("right_answer", _right_answer, "10"),
        Base("mentioned", _mentioned, ("first", "second"), MAPS),
        Base("blank", _blank, ("first", "second"), maps_without("01"), weight=0.7),
        Base("blank_name", _blank_name),
        Base("likeness", _likeness),
        Base("page", lambda r, _: _asked(passages.page(r)), early=True),
        Base("news", lambda r, _: _asked(passages.news(r))),
        Base("two_hops", lambda r, _: _asked(passages.two_hops(r)), weight=1.5),
        Base("numbered", _numbered),
        Base("describe", _described),
        Base("tell_triples", _triples),
        Base("tell_concepts", _concepts),
    )


def _pronoun(rng: random.Random, yes: bool) -> str:
    return _marked(*skills.pronoun(rng, yes))


def _meant(rng: random.Random, _: int) -> tuple[str, str]:
    """In the layout of wsc: who is meant, which may be the marked name or not."""
    same = chance(rng, 0.5)
    text, name, said = skills.pronoun(rng, same)
    people = [word for word in text.split() if word in words.PEOPLE]
    [second] = [person for person in people if person != name]
    return _marked(text, name, said), name if same else second


def _marked(text: str, name: str, said: str) -> str:
    parts = text.split()
    first, second = parts.index(name), parts.index(said)
    parts[first], parts[second] = f"* {name} *", f"# {said} #"
    return f"text: {' '.join(parts)}"


def _right_answer(rng: random.Random, yes: bool) -> str:
    while True:
        paragraph, questions = passages.numbered(rng)
        asked = [
            (question, answer)
            for question, answers in questions
            for answer, right in answers
            if right == yes
        ]
        if asked:
            question, answer = pick(rng, asked)
            plain = _plain(paragraph)
            return f"question: {question} answer: {answer} paragraph: {plain}"


def _numbered(rng: random.Random, _: int) -> tuple[str, str]:
    """In the layout of multirc: the right answer, where there is one."""
    while True:
        paragraph, questions = passages.numbered(rng)
        question, answers = pick(rng, questions)
        right = [answer for answer, good in answers if good]
        if len(right) == 1:
            given = pick(rng, answers)[0]
            return (
                f"question: {question} answer: {given} paragraph: {_plain(paragraph)}",
                right[0],
            )


def _plain(paragraph: str) -> str:
    return re.sub("</?b>", "", paragraph.replace("<br>", " ")).strip()


def _blank(rng: random.Random, answer: int) -> str:
    sentence, options = skills.blank(rng, answer)
    return layouts.options(sentence, options)


def _mentioned(rng: random.Random, answer: int) -> str:
    """In the layout of winogrande: which of two people the sentence is about."""
    fact = world.draw_fact(rng)
    two = [fact.person, other(rng, words.PEOPLE, fact.person)]
    return layouts.options(world.statement(rng, fact), two[:: 1 - 2 * answer])


def _blank_name(rng: random.Random, _: int) -> tuple[str, str]:
    answer = int(chance(rng, 0.5))
    sentence, options = skills.blank(rng, answer)
    return layouts.options(sentence, options), options[answer]


def _likeness(rng: random.Random, _: int) -> tuple[str, str]:
    first, second, score = skills.likeness(rng)
    return layouts.sentences(first, second), f"{round(score * 5) / 5:.1f}"


def _asked(drawn: passages.Question) -> tuple[str, str]:
    """Lays a question out with its punctuation padded, as the tasks do."""
    question, context, answers = drawn
    padded = re.sub(r"\s+", " ", re.sub(r"([\[\]<>/])", r" \1 ", context)).strip()
    return layouts.question_context(question, padded), answers[0]


def _described(rng: random.Random, _: int) -> tuple[str, str]:
    data, told = texts.described(rng)
    return f"meaning_representation: {data}", told[0]


def _triples(rng: random.Random, _: int) -> tuple[str, str]:
    data, told = texts.triples(rng)
    return f"triples: {' && '.join(data)}", told[0]


def _concepts(rng: random.Random, _: int) -> tuple[str, str]:
    """Of two facts it is not known who has what, so only one is told."""
    while True:
        data, told = texts.concepts(rng)
        if len(told) == 1:
            return f"concepts: {' '.join(data)}", told[0]
