"""Numbers of things in messages. The executor imports this module, so it imports nothing."""


def counted(count: int, thing: str) -> str:
    """``1 file``, ``1,284 files``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
