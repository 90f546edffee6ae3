"""Log lines on stdout, one per event: ``event key=value ...``. They need no logging import."""

import json
import sys


def log(event: str, **values: object) -> None:
    """Write one line; a value with spaces or quotes becomes a JSON string."""
    items = [event, *(f"{key}={_text(value)}" for key, value in values.items())]
    sys.stdout.write(" ".join(items) + "\n")
    sys.stdout.flush()


def _text(value: object) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(char in text for char in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())
