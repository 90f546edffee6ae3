"""One line per event on stdout, as ``event key=value ...``: greppable, and no logging import."""

import json
import sys


def log(event: str, **values: object) -> None:
    """Write one line; values with spaces or quotes are written as JSON strings."""
    words = [event, *(f"{key}={_word(value)}" for key, value in values.items())]
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def _word(value: object) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(char in text for char in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)
