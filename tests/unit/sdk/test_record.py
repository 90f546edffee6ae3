"""Records: immutable values with named fields, which ``dataclasses`` knows too."""

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys

import pytest

from nanogrid.record import Record, field, replace


class Point(Record):
    x: int
    y: int = 0
    names: list[str] = field(default_factory=list)


class Named(Point):
    label: str = ""


def test_fields_have_the_given_values_and_defaults() -> None:
    point = Point(x=1, names=["a"])
    assert (point.x, point.y, point.names) == (1, 0, ["a"])
    assert Named(x=1, label="b").label == "b"


def test_a_made_default_belongs_to_one_value() -> None:
    first, second = Point(x=1), Point(x=1)
    first.names.append("a")
    assert second.names == []


@pytest.mark.parametrize("values", [{}, {"x": 1, "z": 2}], ids=["missing", "unknown"])
def test_wrong_fields_are_named(values: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"x is missing|no field z"):
        Point(**values)  # type: ignore[arg-type]


def test_a_value_does_not_change() -> None:
    point = Point(x=1)
    with pytest.raises(AttributeError, match="x cannot change"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="x cannot be deleted"):
        del point.x


def test_values_are_compared_by_class_and_fields() -> None:
    assert Point(x=1) == Point(x=1, y=0)
    assert Point(x=1) != Point(x=2)
    assert Point(x=1) != Named(x=1)
    assert repr(Point(x=1)) == "Point(x=1, y=0, names=[])"


@pytest.mark.parametrize("changed", [replace, dataclasses.replace])
def test_replace_makes_a_changed_copy(changed: object) -> None:
    point = Point(x=1, names=["a"])
    assert callable(changed)
    assert changed(point, y=3) == Point(x=1, y=3, names=["a"])
    assert point.y == 0
    with pytest.raises(TypeError, match="no field z"):
        changed(point, z=1)


def test_copies_are_equal() -> None:
    point = Point(x=1, names=["a"])
    assert copy.deepcopy(point) == point
    assert pickle.loads(pickle.dumps(point)) == point


def test_dataclasses_and_inspect_know_the_fields() -> None:
    assert [each.name for each in dataclasses.fields(Named)] == ["x", "y", "names", "label"]
    assert dataclasses.asdict(Point(x=1)) == {"x": 1, "y": 0, "names": []}
    assert [*inspect.signature(Point).parameters] == ["x", "y", "names"]
    assert dataclasses.is_dataclass(Point)


def test_an_annotation_as_text_is_refused() -> None:
    with pytest.raises(TypeError, match="annotate value with types"):

        class Late(Record):
            value: "int"


def test_the_wire_is_read_and_written_without_dataclasses() -> None:
    code = (
        "import sys; from nanogrid import wire\n"
        "text = wire.dumps(wire.SyncFailure(reason='a', message='b'))\n"
        "assert wire.loads(wire.SyncFailure, text).message == 'b'\n"
        "print([name for name in ('dataclasses', 'inspect') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
