"""Rich results: the representations of an object, by the protocol of notebooks.

Runs in the user's process, imported at the first result. Standard library only; matplotlib is used
only when user code has imported it.

A bundle is a JSON object of MIME type to text; binary types are base64, JSON types are valid JSON.
A representation that fails or is too large is left out, and a warning on stderr says why.
"""

import base64
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any, Final

MAX_BUNDLE: Final = 4 * 1024 * 1024  # session_frames.MAX_BUNDLE, which this process cannot import
TEXT: Final = "text/plain"
PNG: Final = "image/png"
JPEG: Final = "image/jpeg"
JSON: Final = "application/json"
SVG: Final = "image/svg+xml"
# An object that has this attribute invents every attribute: only methods of its type count.
CANARY: Final = "_ipython_canary_method_should_not_exist_"
NOTE_BYTES: Final = 256  # room for the text that replaces a representation
MESSAGE_CHARACTERS: Final = 1000  # of an exception's text
METHODS: Final = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_latex_", "text/latex"),
    ("_repr_svg_", SVG),
    ("_repr_png_", PNG),
    ("_repr_jpeg_", JPEG),
    ("_repr_json_", JSON),
)


class Display:
    """Turns objects into bundles."""

    def __init__(self, send: Callable[[bytes], None], max_bytes: int = MAX_BUNDLE) -> None:
        """Nothing is sent yet.

        Args:
            send: gets each bundle, as JSON.
            max_bytes: of one bundle's JSON.
        """
        self._send = send
        self._max_bytes = max_bytes

    def show(self, value: object) -> None:
        """Send one object's bundle."""
        bundle = {TEXT: _text(value)}
        # The type, not the class: an object may compute its ``__class__``.
        if not issubclass(type(value), type):
            bundle.update(_figure(value) or self._representations(value))
        self._send_bundle(bundle, type(value).__name__)

    def show_figures(self) -> None:
        """Send and close matplotlib's open figures, as the end of a notebook's cell does."""
        pyplot = sys.modules["matplotlib.pyplot"]
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            try:
                self._send_bundle({TEXT: _text(figure), PNG: _render(figure)}, "Figure")
            except Exception as error:  # the boundary: drawing may run any user code
                _warn(f"figure {number} cannot be drawn: {_describe(error)}")
            finally:
                pyplot.close(figure)

    def _send_bundle(self, bundle: dict[str, str], owner: str) -> None:
        """Send what fits, the smallest representations first."""
        kept: dict[str, str] = {}
        room = self._max_bytes - NOTE_BYTES
        for kind in sorted(bundle, key=lambda kind: len(bundle[kind])):
            size = len(json.dumps(bundle[kind]))
            room -= size + len(json.dumps(kind)) + len(", : ")
            if room >= 0:
                kept[kind] = bundle[kind]
                continue
            text = f"{kind} of {owner} is left out: it has {size} bytes, the limit of a result is"
            _warn(f"{text} {self._max_bytes}")
            if kind == TEXT:
                more = f"more than {self._max_bytes} bytes ({kind} {size} bytes)"
                kept[TEXT] = f"A result is left out: it has {more}"
        self._send(json.dumps({kind: kept[kind] for kind in bundle if kind in kept}).encode())

    def _representations(self, value: object) -> dict[str, str]:
        """The results of the object's own methods."""
        owner = type(value).__name__
        invents = _invents_attributes(value)
        found: dict[str, str] = {}
        for name, kind in METHODS:
            if kind == JPEG and PNG in found:
                continue  # PIL would draw every image twice
            if invents and not hasattr(type(value), name):
                continue
            self._add(found, f"{owner}.{name}", kind, _call(value, owner, name))
        name = "_repr_mimebundle_"
        if invents and not hasattr(type(value), name):
            return found
        bundle = _without_metadata(_call(value, owner, name, include=None, exclude=None))
        if isinstance(bundle, dict):
            for kind, data in bundle.items():
                self._add(found, f"{owner}.{name}", kind, data)
        return found

    def _add(self, found: dict[str, str], source: str, kind: object, data: object) -> None:
        """Add one representation as text, or warn."""
        if data is None:
            return
        try:
            if not isinstance(kind, str):
                raise TypeError(f"a MIME type is a str, not {type(kind).__name__}")
            found[str(kind)] = _as_text(kind, _without_metadata(data), self._max_bytes)
        except Exception as error:  # the boundary: data may contain any object of user code
            _warn(f"{source} is left out: {_describe(error)}")


def _invents_attributes(value: object) -> bool:
    try:
        return getattr(value, CANARY, None) is not None
    except Exception:  # the boundary: this is user code
        return True


def _call(value: object, owner: str, name: str, **arguments: Any) -> Any:
    try:
        method = getattr(value, name, None)
        return method(**arguments) if callable(method) else None
    except Exception as error:  # the boundary: see above
        _warn(f"{owner}.{name} failed: {_describe(error)}")
        return None


def _without_metadata(data: Any) -> Any:
    """The data of a pair of data and metadata."""
    pair = isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], dict)
    return data[0] if pair else data


def _figure(value: object) -> dict[str, str] | None:
    """A matplotlib figure; it may be one that pyplot does not list as open."""
    module = sys.modules.get("matplotlib.figure")
    if module is None or not isinstance(value, module.Figure):
        return None
    try:
        return {PNG: _render(value)}
    except Exception as error:  # the boundary: see above
        _warn(f"the figure cannot be drawn: {_describe(error)}")
        return None
    finally:
        if "matplotlib.pyplot" in sys.modules:  # otherwise show_figures() would send it again
            sys.modules["matplotlib.pyplot"].close(value)


def _render(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return base64.b64encode(buffer.getvalue()).decode()


def _as_text(kind: str, data: Any, max_bytes: int) -> str:
    """A representation as text.

    Raises:
        Exception: it is not of its kind, or it is too large.
    """
    if isinstance(data, (str, bytes, bytearray)) and len(data) > max_bytes:
        raise ValueError(f"it has {len(data)} bytes, the limit of a result is {max_bytes}")
    is_json = kind == JSON or kind.endswith("+json")
    if isinstance(data, (bytes, bytearray)):
        if not (is_json or kind == SVG or kind.startswith("text/")):
            return base64.b64encode(data).decode()
        data = data.decode()
    if is_json:
        return data if isinstance(data, str) and _is_json(data) else _to_json(data)
    if isinstance(data, str):
        return data
    raise TypeError(f"{kind} is a str, not {type(data).__name__}")


def _to_json(data: Any) -> str:
    return json.dumps(data, default=repr, allow_nan=False)


def _is_json(text: str) -> bool:
    def refuse(name: str) -> None:
        raise ValueError(f"JSON has no {name}")

    try:
        json.loads(text, parse_constant=refuse, parse_int=str)
    except ValueError:
        return False
    return True


def _text(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # the boundary: see above
        return f"<{type(value).__name__}; its repr failed: {_describe(error)}>"


def _describe(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # the boundary: see above
        text = "its text failed, too"
    return f"{type(error).__name__}: {text[:MESSAGE_CHARACTERS]}"


def _warn(text: str) -> None:
    line = f"display: {text}"
    try:
        print(line, file=sys.stderr)
    except Exception:  # the boundary: user code closed or replaced its stderr
        os.write(2, f"{line}\n".encode(errors="replace"))
