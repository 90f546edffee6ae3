"""Immutable values with named fields, declared as dataclasses are. Standard library only.

Each job's containers declare dozens of such classes. ``dataclasses`` imports ``inspect`` and
compiles several functions for each class, which was a third of the CPU time of a job's agent. A
record has the same functions for all classes, so declaring one costs microseconds. Type checkers
treat it as a frozen dataclass whose fields are keywords (PEP 681).
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from dataclasses import Field
    from inspect import Signature

__all__ = ["Record", "field", "has_default", "plain_default", "replace", "types_of"]

T = TypeVar("T")


class _OnDemand:
    """An attribute of a class that is made when somebody asks, once: it needs imports."""

    def __init__(self, make: "Callable[[type[Record]], Any]") -> None:
        self._make = make
        self._made: dict[type[Record], Any] = {}

    def __get__(self, value: "Record | None", cls: type["Record"]) -> Any:
        if cls not in self._made:
            self._made[cls] = self._make(cls)
        return self._made[cls]


def _dataclass_fields(cls: type["Record"]) -> "dict[str, Field[Any]]":
    """What makes a class a dataclass for ``dataclasses``, so that its functions take records."""
    import dataclasses

    fields: list[tuple[str, Any, Any]] = []
    for name, hint in types_of(cls).items():
        default = cls._defaults.get(name, dataclasses.MISSING)
        if isinstance(default, _Factory):
            fields.append((name, hint, dataclasses.field(default_factory=default.make)))
        else:
            fields.append((name, hint, dataclasses.field(default=default)))
    made: Any = dataclasses.make_dataclass(cls.__name__, fields, kw_only=True)
    return made.__dataclass_fields__  # type: ignore[no-any-return]  # of a class made just now


def _signature(cls: type["Record"]) -> "Signature":
    """What ``help`` and ``inspect`` show."""
    from inspect import Parameter, Signature

    parameters = []
    for name, hint in types_of(cls).items():
        default = cls._default(name) if has_default(cls, name) else Parameter.empty
        each = Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        parameters.append(each)
    return Signature(parameters)


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

    __dataclass_fields__: ClassVar[Any] = _OnDemand(_dataclass_fields)
    __signature__: ClassVar[Any] = _OnDemand(_signature)
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

    @classmethod
    def _default(cls, name: str) -> Any:
        if name not in cls._defaults:
            raise TypeError(f"{cls.__name__}: {name} is missing")
        default = cls._defaults[name]
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
