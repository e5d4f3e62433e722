"""What a prompt method is: settings, and pure functions of one lane."""

import abc
import dataclasses
import enum
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt

from dtvg_jax.errors import InputError, check_field_types, unknown
from dtvg_jax.files import JsonObject

Trainables: TypeAlias = dict[str, Array]
# What a method keeps from step to step without training it; its structure is its own.
MethodState: TypeAlias = PyTree[Array]
Diagnostics: TypeAlias = dict[str, Array]
Vectors: TypeAlias = Float[np.ndarray, "S P H"]

# Marks a field that lanes of one program may differ in, such as a rate: it reaches the
# program in an array, or not at all. All other fields are compiled into it.
PER_LANE = {"per_lane": True}

# Names are parts of file names and of entries: "<task>/<name>+<variant>-seed<n>".
_NAME = re.compile(r"[A-Za-z0-9_=][A-Za-z0-9_.=-]*")
_RESERVED = "stage1"


class Context(NamedTuple):
    """What a method sees of one lane besides what it trains."""

    p_init: Float[Array, "P H"]
    sources: Float[Array, "S P H"]  # task prompt vectors, frozen; S may be 0
    start: Float[Array, "P H"]  # the prompt that training starts from
    available: Bool[Array, " S"]  # False: not for this lane (it is the target itself)
    seed: UInt[Array, ""]  # of the lane, for what `init` draws


class Start(enum.StrEnum):
    """The prompt that a lane of stage 2 starts from."""

    OWN = "own"  # the target's prompt of stage 1
    P_INIT = "p_init"
    MOST_SIMILAR_SOURCE = "most_similar_source"  # by the cosine of mean rows
    BEST_VALIDATED_SOURCE = "best_validated_source"  # on the target, untuned


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """How trainables and sources become a prompt.

    A method is a frozen dataclass: its fields are its hyper-parameters, set from gin
    and Python, and kept in plan, store and results. A subclass says what it is `called`
    and what it is `about`, has `init` and `prompt`, and whatever else is not as below.

    Attributes:
      variant: tells apart two settings of one method in a job.
      start: the prompt that a lane starts from.
      bare_vectors: whether source vectors may be of another P_init than the target's.
    """

    variant: str = dataclasses.field(default="", metadata=PER_LANE)
    start: Start = dataclasses.field(default=Start.OWN, metadata=PER_LANE)
    bare_vectors: bool = dataclasses.field(default=False, metadata=PER_LANE)

    called: ClassVar[str] = ""
    about: ClassVar[str] = ""
    # Whether source vectors enter the prompt: an entry then names its sources.
    merges_sources: ClassVar[bool] = False
    # Whether each row has a prompt of its own, which `row_prompt` makes.
    looks_at_rows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _with_tuples(getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        check_field_types(self)
        if self.start not in list(Start):
            raise unknown("start", self.start, Start)
        for what, value in (("name", self.name), ("variant", self.variant or "_")):
            if not _NAME.fullmatch(value) or value == _RESERVED:
                raise InputError(
                    f"{what} = {value!r} of a method: it must be of letters, digits "
                    f"and _ = - . and not be {_RESERVED!r}"
                )

    @property
    def name(self) -> str:
        """The name in results and in the store."""
        return self.called

    @property
    def description(self) -> str:
        """Says in a line of the report what the method does."""
        return self.about

    @abc.abstractmethod
    def init(self, context: Context) -> tuple[Trainables, MethodState]:
        """Makes the arrays to train, "prompt" [P, H] among them, and the state."""

    @abc.abstractmethod
    def prompt(
        self,
        trainables: Trainables,
        method_state: MethodState,
        context: Context,
        step: Int[Array, ""],
    ) -> tuple[Float[Array, "P H"], MethodState, Diagnostics]:
        """Makes what stands in front of the tokens at a step, and what is logged."""

    def row_prompt(
        self,
        prompt: Float[Array, "P H"],
        trainables: Trainables,
        context: Context,
        tokens: Float[Array, "T H"],
        real: Bool[Array, " T"],
    ) -> Float[Array, "P H"]:
        """Makes of the lane's `prompt` that of one row; called if `looks_at_rows`.

        `tokens` is the row's embedded input, `real` says which of them are no padding:
        the result must not depend on the others.
        """
        del trainables, context, tokens, real
        return prompt

    def rates(self, learning_rate: float) -> dict[str, float]:
        """Gives the peak rate of each array that is trained, by the stage's rate."""
        return {"prompt": learning_rate}

    def saved(
        self, trainables: Mapping[str, np.ndarray], method_state: PyTree[np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Gives what an entry of the store holds beside "prompt" and "tpv"."""
        del trainables, method_state
        return {}

    def check(self, sources: Sequence[str], seeds: Sequence[int]) -> None:
        """Raises InputError where the method cannot be used with these."""
        del sources, seeds

    def uses(self, source: str) -> bool:
        """Tells whether a source is available to the method."""
        del source
        return True

    def source_seed(self, seed: int, seeds: Sequence[int]) -> int:
        """Names the seed whose source vectors a lane of `seed` gets."""
        del seeds
        return seed

    def vectors(self, learned: Vectors, seed: int) -> Vectors:
        """Makes the source vectors of the lanes of a seed from those of stage 1."""
        del seed
        return learned

    @property
    def full_name(self) -> str:
        """The name with the variant."""
        return f"{self.name}+{self.variant}" if self.variant else self.name

    @property
    def settings(self) -> JsonObject:
        """The class and all settings, as JSON: what results depend on."""
        cls = type(self)
        try:
            hash(self)
            text = json.dumps(dataclasses.asdict(self), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"a setting of method {self.full_name!r} cannot be kept ({error}): "
                "settings are numbers, texts, None, and lists of these"
            ) from None
        fields = json.loads(text)
        return {"class": f"{cls.__module__}:{cls.__qualname__}"} | fields

    @property
    def structure(self) -> Hashable:
        """What is compiled: methods of one structure share a program."""
        return type(self), json.dumps(compiled_in(self.settings, type(self)))


def compiled_in(settings: JsonObject, cls: type[Method]) -> JsonObject:
    """Leaves out of a method's settings what lanes of one program may differ in."""
    per_lane = {f.name for f in dataclasses.fields(cls) if f.metadata.get("per_lane")}
    return {name: x for name, x in settings.items() if name not in per_lane}


def _with_tuples(value: object) -> object:
    """Makes tuples of lists: programs are kept by method, which must be hashable."""
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def described(method: Method) -> str:
    """Says what a method does; of a variant also what it changes."""
    if not method.variant:
        return method.description
    changed = [
        f"{field.name} {value}"
        for field in dataclasses.fields(method)
        if field.name != "variant"
        and (value := getattr(method, field.name)) != field.default
    ]
    return f"{method.description} ({', '.join(changed) or 'defaults'})"
