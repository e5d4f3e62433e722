"""How a vocabulary spells texts: what encoding and decoding changes, loses or merges.

Predictions are decoded ids, so gold answers are compared in the spelling of the
vocabulary, which may have one kind of space only, or no ligatures.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from dtvg_jax.data.tokenise import Gold
from dtvg_jax.errors import InputError
from dtvg_jax.models.backbone import Vocabulary

# Targets with more different values than this, or than half the rows, are free texts.
MOST_CLASSES = 64

# The spelling of each text; None where the vocabulary loses some of it.
Spelling = Mapping[str, str | None]


def spelling(texts: Iterable[str], vocabulary: Vocabulary) -> Spelling:
    """Encodes and decodes texts.

    A text that comes back with differences beyond white space and Unicode's compatible
    forms (NFKC) has lost something, such as characters that the vocabulary lacks.
    """
    distinct = list(dict.fromkeys(texts))
    spelled = vocabulary.decode(vocabulary.encode(distinct))
    return {
        text: one if _plain(text) == _plain(one) else None
        for text, one in zip(distinct, spelled, strict=True)
    }


def texts_of(gold: Gold) -> list[str]:
    """Gives the texts that an answer may equal; none for other kinds of gold."""
    several = gold if isinstance(gold, list) else [gold]
    texts = [one for one in several if isinstance(one, str)]
    return texts if len(texts) == len(several) else []


def spelled(gold: Gold, known: Spelling) -> Gold:
    """Spells a gold text or each of a list; what has no spelling stays as it is."""
    texts = texts_of(gold)
    if not texts:
        return gold
    found = [text if known[text] is None else known[text] for text in texts]
    return found if isinstance(gold, list) else found[0]


def check_classes(
    targets: Mapping[str, Sequence[int]], rows: int, vocabulary: Vocabulary, where: str
) -> None:
    """Raises InputError, which begins with `where`, for classes with the same ids.

    Args:
      targets: the ids of every different target, truncated.
      rows: their number tells targets that are classes from those that are texts.
    """
    if len(targets) > min(MOST_CLASSES, rows // 2):
        return
    first: dict[tuple[int, ...], str] = {}
    for text, ids in targets.items():
        other = first.setdefault(tuple(ids), text)
        if _plain(other) == _plain(text):
            continue
        whole, too = vocabulary.encode([other, text])
        remedy = "choose others, this vocabulary lacks what tells them apart"
        if whole != too:
            remedy = f"set targets_length = {max(len(whole), len(too)) + 1}"
        raise InputError(
            f"{where}: the targets {other!r} and {text!r} are the same {len(ids)} "
            f"tokens, so no answer can tell them apart: {remedy}"
        )


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())
