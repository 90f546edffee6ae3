"""Rich results: the representations of an object, by the protocol of notebooks.

Runs in the user's process, imported at the first result. Standard library only; matplotlib is used
only when user code has imported it.

A bundle is a JSON object of MIME type to text; binary types are base64. A bundle that is too large
is replaced by a text that says so.
"""

import base64
import io
import json
import sys
from collections.abc import Callable
from typing import Any, Final

MAX_BUNDLE: Final = 4 * 1024 * 1024  # session_frames.MAX_BUNDLE, which this process cannot import
TEXT: Final = "text/plain"
PNG: Final = "image/png"
JPEG: Final = "image/jpeg"
METHODS: Final = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_latex_", "text/latex"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", PNG),
    ("_repr_jpeg_", JPEG),
    ("_repr_json_", "application/json"),
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
        if not isinstance(value, type):
            bundle.update(_figure(value) or _representations(value))
        self._send_bundle(bundle)

    def show_figures(self) -> None:
        """Send and close matplotlib's open figures, as the end of a notebook's cell does."""
        pyplot = sys.modules["matplotlib.pyplot"]
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            try:
                self._send_bundle({TEXT: _text(figure), PNG: _render(figure)})
            except Exception as error:  # the boundary: drawing may run any user code
                _warn(f"figure {number} cannot be drawn: {_describe(error)}")
            finally:
                pyplot.close(figure)

    def _send_bundle(self, bundle: dict[str, str]) -> None:
        data = json.dumps(bundle).encode()
        if len(data) > self._max_bytes:
            sizes = ", ".join(f"{kind} {len(text)} bytes" for kind, text in bundle.items())
            text = f"A result is left out: it has more than {self._max_bytes} bytes ({sizes})"
            data = json.dumps({TEXT: text}).encode()
        self._send(data)


def _representations(value: object) -> dict[str, str]:
    """The results of the object's own methods."""
    found: dict[str, Any] = {}
    for name, kind in METHODS:
        if kind == JPEG and PNG in found:
            continue  # PIL would draw every image twice
        data = _call(value, name)
        if data is not None:
            found[kind] = data
    bundle = _call(value, "_repr_mimebundle_", include=None, exclude=None)
    if isinstance(bundle, tuple):  # the second part is metadata
        bundle = bundle[0] if bundle else None
    if isinstance(bundle, dict):
        found.update(bundle)
    return {str(kind): _as_text(data) for kind, data in found.items() if data is not None}


def _call(value: object, name: str, **arguments: Any) -> Any:
    try:
        method = getattr(value, name, None)
        return method(**arguments) if callable(method) else None
    except Exception as error:  # the boundary: this is user code
        _warn(f"{type(value).__name__}.{name} failed: {_describe(error)}")
        return None


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


def _as_text(data: Any) -> str:
    if isinstance(data, str):
        return data
    if isinstance(data, (bytes, bytearray)):
        return base64.b64encode(data).decode()
    return json.dumps(data, default=repr)


def _text(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # the boundary: see above
        return f"<{type(value).__name__}; its repr failed: {_describe(error)}>"


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _warn(text: str) -> None:
    print(f"display: {text}", file=sys.stderr)
