"""What a job tries of every method in stage 2, to choose from by validation."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from dtvg_jax.errors import Count, InputError, Number, Rate, refuse_repeats, unknown
from dtvg_jax.training.runs import Trial
from dtvg_jax.training.stages import Stage


@dataclasses.dataclass(frozen=True)
class Search:
    """What is tried of every method in stage 2, as lanes beside each other.

    A setting is a variant of a method (its hyper-parameters) with a peak rate and a
    warm-up. Every setting is trained on every target with every seed. For each target
    and method the one with the best mean validation score is chosen, the same for all
    seeds, and only its prompts are tested. Every method has as many settings.

    Attributes:
      learning_rates: the peak rates to try, in place of stage 2's.
      rates_of: other rates by method: {"prompt_tuning": [0.1, 0.2, 0.3, 0.4]}.
      warmups: the warm-ups to try with each rate; without any, stage 2's.
      halve_at: steps at which the worse half of the settings of each target and method
        stops, by the best validation score so far.
    """

    learning_rates: Sequence[Rate]
    rates_of: Mapping[str, Sequence[Rate]] = dataclasses.field(default_factory=dict)
    warmups: Sequence[Number] = ()
    halve_at: Sequence[Count] = ()

    def trials(self, method: str) -> list[Trial]:
        """Lists what is tried of each variant of a method."""
        rates = self.rates_of.get(method, self.learning_rates)
        return [
            Trial(float(rate), warmup)
            for rate in rates
            for warmup in self.warmups or [None]
        ]

    def check(self, methods: Sequence[str], stage: Stage) -> None:
        """Raises InputError where methods or stage 2 cannot be searched so.

        `methods` has the name of a method once for each of its variants.
        """
        if not methods:
            raise InputError("search: a job without targets or methods has no stage 2")
        for name in self.rates_of:
            if name not in methods:
                raise unknown("method in search.rates_of", name, dict.fromkeys(methods))
        for rates in (self.learning_rates, *self.rates_of.values()):
            refuse_repeats("a list of rates of search", rates)
            if not rates:
                raise InputError("search has an empty list of rates: give one at least")
        self._check_steps(stage)
        counts = {
            name: variants * len(self.trials(name))
            for name, variants in Counter(methods).items()
        }
        if len(set(counts.values())) > 1:
            many = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise InputError(
                f"a search gives every method as many trials, but here they have {many}"
                ": give variants, or rates of their own in search.rates_of"
            )

    def _check_steps(self, stage: Stage) -> None:
        refuse_repeats("search.warmups", self.warmups)
        for warmup in self.warmups:
            if warmup >= stage.steps:
                raise InputError(
                    f"search.warmups has {warmup}: it must be less than the "
                    f"{stage.steps} steps of stage 2"
                )
        for step in self.halve_at:
            if step % stage.validate_every or step >= stage.steps:
                raise InputError(
                    f"search.halve_at has {step}: settings are halved at a validation "
                    f"before the end, a multiple of {stage.validate_every} below "
                    f"{stage.steps}"
                )
