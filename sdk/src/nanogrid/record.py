"""Immutable values with named fields, declared as dataclasses are. Standard library only.

Each job's containers declare dozens of such classes. ``dataclasses`` imports ``inspect`` and
compiles several functions for each class, which was a third of the CPU time of a job's agent. A
record has the same functions for all classes, so declaring one costs microseconds. Type checkers
treat it as a frozen dataclass whose fields are keywords (PEP 681).
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from inspect import Signature

__all__ = ["Record", "field", "has_default", "plain_default", "replace", "types_of"]

T = TypeVar("T")


class _AsDataclass:
    """An attribute that a dataclass has: ``dataclasses`` and ``inspect`` know records too.

    Made when somebody asks, because it needs the imports that records avoid.
    """

    def __init__(self, make: Callable[[type], Any]) -> None:
        self._make = make

    def __get__(self, value: "Record | None", cls: type["Record"]) -> Any:
        import dataclasses

        fields: list[tuple[str, Any, Any]] = []
        for name, hint in cls._types.items():
            default = cls._defaults.get(name, dataclasses.MISSING)
            if isinstance(default, _Factory):
                fields.append((name, hint, dataclasses.field(default_factory=default.make)))
            else:
                fields.append((name, hint, dataclasses.field(default=default)))
        return self._make(dataclasses.make_dataclass(cls.__name__, fields, kw_only=True))


def _signature(made: type) -> "Signature":
    import inspect

    return inspect.signature(made)


class _Factory:
    """Makes the default of a field for each value."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], T]) -> T:
    """A field whose default is made for each value, such as an empty list."""
    made: Any = _Factory(default_factory)
    return made  # type: ignore[no-any-return]  # as in dataclasses: the type of the default


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Record:
    """The base class: a subclass annotates its fields and may give them defaults."""

    __dataclass_fields__: ClassVar[Any] = _AsDataclass(attrgetter("__dataclass_fields__"))
    __signature__: ClassVar[Any] = _AsDataclass(_signature)
    _types: ClassVar[dict[str, Any]] = {}
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        own = cls.__annotations__
        if texts := [name for name, hint in own.items() if isinstance(hint, str)]:
            raise TypeError(
                f"{cls.__name__}: annotate {', '.join(texts)} with types, not with text"
            )
        cls._types = {**cls._types, **own}
        cls._defaults = {**cls._defaults, **{n: vars(cls)[n] for n in own if n in vars(cls)}}

    def __init__(self, **values: Any) -> None:
        if unknown := values.keys() - self._types.keys():
            raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
        for name in self._types:
            value = values[name] if name in values else self._default(name)
            object.__setattr__(self, name, value)

    def _default(self, name: str) -> Any:
        if name not in self._defaults:
            raise TypeError(f"{type(self).__name__}: {name} is missing")
        default = self._defaults[name]
        return default.make() if isinstance(default, _Factory) else default

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._types)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._types))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._types)
        return f"{type(self).__qualname__}({shown})"


def types_of(cls: type[Record]) -> Mapping[str, Any]:
    """The annotated type of each field, in the order of declaration."""
    return cls._types


def has_default(cls: type[Record], name: str) -> bool:
    """Whether a value can be made without this field."""
    return name in cls._defaults


def plain_default(cls: type[Record], name: str) -> Any:
    """The default of a field; None without one, and if it is made for each value."""
    default = cls._defaults.get(name)
    return None if isinstance(default, _Factory) else default


if TYPE_CHECKING:
    from dataclasses import replace  # type checkers know the fields of this one
else:

    def replace(value, /, **changes):
        """A copy with other values of some fields.

        Raises:
            TypeError: there is no field of that name.
        """
        return type(value)(**{**vars(value), **changes})
