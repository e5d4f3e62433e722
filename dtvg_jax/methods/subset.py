"""A fixed list of sources: what a choice made beforehand, or by hand, is worth."""

import dataclasses
from collections.abc import Sequence

from dtvg_jax.errors import InputError, unknown
from dtvg_jax.methods.dtvg import Grouped
from dtvg_jax.methods.method import PER_LANE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subset(Grouped):
    """Merges the sources of `only`, or with another `rule` groups among them."""

    rule: str = "all_sources"
    only: Sequence[str] = dataclasses.field(default=(), metadata=PER_LANE)

    called = "subset"

    @property
    def name(self) -> str:
        """The alias, or "subset"."""
        return self.alias or self.called

    @property
    def description(self) -> str:
        """Names the sources."""
        return f"{self.rule} among {', '.join(self.only) or 'no source'}"

    def check(self, sources: Sequence[str], seeds: Sequence[int]) -> None:
        """Raises InputError where `only` is empty or has what is no source."""
        super().check(sources, seeds)
        if not self.only:
            raise InputError(
                f"method {self.full_name!r} has no sources: set `subset.Subset.only`"
            )
        for one in self.only:
            if one not in sources:
                raise unknown(f"source of method {self.full_name!r}", one, sources)

    def uses(self, source: str) -> bool:
        """Tells whether `only` has a source."""
        return source in self.only


METHODS = [Subset()]
