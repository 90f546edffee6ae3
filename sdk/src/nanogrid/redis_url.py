"""The URL of Redis with user and password, which come from separate variables and a Secret."""

from urllib.parse import quote, urlsplit, urlunsplit


def with_credentials(url: str, username: str, password: str) -> str:
    """``url`` with the password, and with the username in place of the URL's own.

    Without both, ``url`` unchanged.
    """
    if not (username or password):
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = quote(username, safe="") or parts.username or ""
    secret = quote(password, safe="") or parts.password or ""
    return urlunsplit(parts._replace(netloc=f"{user}:{secret}@{host}"))
