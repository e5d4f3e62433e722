"""What the embedded backbone is pretrained on: a base is one skill in one layout.

The word in front, where a task has its name, is drawn from all task names, so it tells
nothing; which base and which label words are meant is told only by the cue that the
trainer learns beside the model.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

from . import words
from .world import pick

DIGITS = ("012", "021", "102", "120", "201", "210")  # digit of the first class, ...
MAPS = ("words", *DIGITS)
OPENINGS = words.TASKS + words.MORE_TASKS  # where a task has its name


class Base(NamedTuple):
    """One thing to learn: `draw(rng, class)` writes a text, or a text and its answer.

    classes: the canonical words of the classes; empty if the answer is in the text.
    maps: the ways of writing the classes, by name; the first is the canonical one.
    early: part of the curriculum from the start.
    weight: how often to draw it, apart from how well it is known.
    """

    name: str
    draw: Callable[[random.Random, int], str | tuple[str, str]]
    classes: tuple[str, ...] = ()
    maps: tuple[str, ...] = MAPS[:1]
    early: bool = False
    weight: float = 1.0

    def example(self, rng: random.Random, label_map: str) -> tuple[str, str]:
        """Write one input, with a random task name in front, and its target."""
        label = int(rng.random() * max(len(self.classes), 1))
        drawn = self.draw(rng, label)
        if isinstance(drawn, tuple):
            text, target = drawn
        elif label_map == MAPS[0]:
            text, target = drawn, self.classes[label]
        else:
            text, target = drawn, label_map[label]
        return f"{pick(rng, OPENINGS)} {text}", target


def maps_without(digits: str) -> tuple[str, ...]:
    """List the maps that do not begin with these digits; all of them for none."""
    return tuple(m for m in MAPS if not digits or not m.startswith(digits))


def two(name: str, draw, held_out: str = "", early: bool = False, weight=1.0) -> Base:
    """A yes-or-no base; the digits of yes and no in `held_out` are never shown."""
    return Base(
        name,
        lambda rng, c: draw(rng, c == 0),
        ("yes", "no"),
        maps_without(held_out),
        early,
        weight,
    )


def in_text(name: str, draw, early: bool = False) -> Base:
    """A base whose answers stand in the text."""
    return Base(name, lambda rng, _: draw(rng), early=early)


def laid_out(draw, layout):
    """Lay out what a skill writes."""
    return lambda rng, yes: layout(*draw(rng, yes))
