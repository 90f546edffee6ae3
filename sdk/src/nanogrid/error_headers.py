"""Headers of the error responses of gateway and session."""


def error_headers(status: int, retry_after: int | None, realm: str) -> dict[str, str]:
    """The headers of a status; ``realm`` names the API, ``retry_after`` is in seconds."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if status == 401:
        headers["WWW-Authenticate"] = f'Bearer realm="{realm}"'
    return headers
