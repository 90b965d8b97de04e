"""Values in nested lists, tuples and dicts: taken apart in order, put together again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any


class FormError(ValueError):
    """A value is not nested as it should be: where, and what was expected and found there."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {found}")
        self.path, self.expected, self.found = path, expected, found


@dataclass(frozen=True)
class Form:
    """How values are nested.

    Attributes
    ----------
    kind
        list, tuple (or a named tuple), dict, or None: a single value, which has no parts.
    keys
        Of a dict.
    parts
        Forms of the items, in order.
    """

    kind: type | None
    keys: tuple[Any, ...] = ()
    parts: tuple[Form, ...] = ()

    @cached_property
    def flat(self) -> bool:
        """Whether it is a single value, or a list or tuple of them."""
        return self.kind in (None, list, tuple) and self.shallow

    @cached_property
    def shallow(self) -> bool:
        """Whether its items, if it has any, are single values."""
        return all(part.kind is None for part in self.parts)

    @cached_property
    def count(self) -> int:
        """Number of single values."""
        return 1 if self.kind is None else sum(part.count for part in self.parts)

    def fits(self, given: Any) -> bool:
        """Whether this is a dict of single values and so is ``given``, with the same keys."""
        return self.kind is dict and self.shallow and _keys(given) == self._key_set

    @cached_property
    def _key_set(self) -> frozenset[Any]:
        return frozenset(self.keys)

    def build(self, values: Sequence[Any]) -> Any:
        """The values in this form."""
        if self.kind is dict and self.shallow:
            return dict(zip(self.keys, values, strict=True))
        return self._build(iter(values))

    def _build(self, values: Iterator[Any]) -> Any:
        if self.kind is None:
            return next(values)
        items = [part._build(values) for part in self.parts]
        if self.kind is dict:
            return dict(zip(self.keys, items, strict=True))
        if self.kind in (list, tuple):
            return self.kind(items)
        return None if self.kind is type(None) else self.kind(*items)

    def values(self, given: Any, path: str = "") -> list[Any]:
        """The single values in something of this form, in order; lists for tuples will do.

        Raises
        ------
        FormError
            If ``given`` is nested in another way.
        """
        if self.kind is None:
            return [given]
        found: list[Any] = []
        items = zip(self.parts, self.keys or count(), self._items(given, path), strict=False)
        for part, key, item in items:
            if part.kind is None:
                found.append(item)
            else:
                found += part.values(item, f"{path}[{key!r}]")
        return found

    def _items(self, given: Any, path: str) -> list[Any]:
        if self.kind is dict:
            if _keys(given) == self._key_set:
                return [given[key] for key in self.keys]
        elif self.kind is type(None):
            if given is None:
                return []
        elif isinstance(given, (list, tuple)) and len(given) == len(self.parts):
            return list(given)
        raise FormError(path, str(self), _described(given))

    def __str__(self) -> str:
        """What a value of this form is, in words."""
        if self.kind is None:
            return "a single value"
        if self.kind is dict:
            return f"a dict with the keys {', '.join(map(str, self.keys))}"
        if self.kind is type(None):
            return "None"
        name = "tuple" if self.kind is tuple else self.kind.__name__
        return f"a {name} of length {len(self.parts)}"


def _keys(given: Any) -> Any:
    return given.keys() if type(given) is dict or isinstance(given, Mapping) else None


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict with the keys {', '.join(map(str, value))}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of length {len(value)}"
    return type(value).__name__


def flatten(value: Any) -> tuple[list[Any], Form]:
    """The single values in nested lists, tuples and dicts, and how they were nested.

    None is a form without values.
    """
    if value is None:
        return [], Form(type(None))
    if isinstance(value, Mapping):
        return _joined(dict, tuple(value), value.values())
    if isinstance(value, tuple):
        return _joined(type(value) if hasattr(value, "_fields") else tuple, (), value)
    if isinstance(value, list):
        return _joined(list, (), value)
    return [value], Form(None)


def _joined(kind: type, keys: tuple[Any, ...], items: Iterable[Any]) -> tuple[list[Any], Form]:
    taken = [flatten(item) for item in items]
    values = [value for part, _ in taken for value in part]
    return values, Form(kind, keys, tuple(form for _, form in taken))
