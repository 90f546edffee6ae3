"""Named tuples for the modules that the launcher of each job imports. Standard library only.

``typing`` has the same class. Its import, and that of each class, would take the launcher 5 ms of
CPU before it connects to the agent. So these modules name the types of ``typing`` for type checkers
only: :data:`TYPE_CHECKING` is false when they run, as ``typing.TYPE_CHECKING`` is.
"""

from operator import itemgetter

__all__ = ["NamedTuple"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:

    class NamedTuple(tuple):
        """The base class: a subclass annotates its fields, and may give the last ones defaults."""

        __slots__ = ()
        _fields = ()
        _field_defaults = {}  # noqa: RUF012 each class has its own

        def __init_subclass__(cls):
            """Make a property of each annotated field."""
            fields = tuple(cls.__annotations__)
            cls._fields = fields
            cls._field_defaults = {n: vars(cls)[n] for n in fields if n in vars(cls)}
            for place, name in enumerate(fields):
                setattr(cls, name, property(itemgetter(place)))

        def __new__(cls, *values, **named):
            """A value.

            Raises:
                TypeError: a field is missing, unknown, or given twice.
            """
            rest = cls._fields[len(values) :]
            given = {**cls._field_defaults, **named}
            if len(values) > len(cls._fields) or named.keys() - {*rest} or {*rest} - given.keys():
                wrong = [*values, *named]
                raise TypeError(f"{cls.__name__}{cls._fields} cannot be made of {wrong}")
            return tuple.__new__(cls, (*values, *(given[name] for name in rest)))

        def __repr__(self):
            shown = ", ".join(f"{n}={v!r}" for n, v in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({shown})"

        def _replace(self, **changes):
            return type(self)(**{**dict(zip(self._fields, self, strict=True)), **changes})
