"""What differs between two JSON values, by the names of their fields."""

from typing import NamedTuple

_ABSENT = object()  # a field that one of the two lacks


class Difference(NamedTuple):
    """A field, such as "stage1.steps", and its two values, formatted."""

    name: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.name} was {self.was}, is {self.now}"


def differences(was: object, now: object, name: str = "") -> list[Difference]:
    """Lists the fields that differ, those of objects one by one."""
    if isinstance(was, dict) and isinstance(now, dict):
        return [
            one
            for key in dict.fromkeys([*was, *now])
            for one in differences(
                was.get(key, _ABSENT),
                now.get(key, _ABSENT),
                f"{name}.{key}".lstrip("."),
            )
        ]
    return [] if was == now else [Difference(name, _shown(was), _shown(now))]


def _shown(value: object) -> str:
    if value is _ABSENT:
        return "absent"
    return "present" if isinstance(value, dict) else repr(value)
