"""Meaning and cure of a reason that an operator, perhaps a newer one, has given."""

from nanogrid.reasons import HELP, Help, Reason


def help_of(reason: str) -> Help | None:
    """Meaning and cure; None for a reason that this release does not know."""
    try:
        return HELP[Reason(reason)]
    except ValueError:
        return None
