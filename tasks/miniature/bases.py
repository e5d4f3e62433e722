"""All bases that the embedded backbone is pretrained on."""

from .base import Base
from .long_bases import long_bases
from .short_bases import short_bases


def bases() -> tuple[Base, ...]:
    """List what to pretrain on; the order is the order of the cue rows."""
    return short_bases() + long_bases()
