"""Commands for pages that have nothing to show yet; a reader pastes them into a shell. Pure."""

import shlex

from nanogrid import names


def job(namespace: str) -> str:
    """Applies a job with kubectl."""
    return f"""kubectl -n {shlex.quote(namespace)} create -f - <<'END'
apiVersion: {names.API_VERSION}
kind: {names.KIND}
metadata:
  generateName: hello-
spec:
  code:
    inline: print("Hello from a sandbox")
END"""


def upload(origin: str, token: bool) -> str:
    """Uploads a function, and runs it.

    Args:
        origin: of this gateway, as the browser names it.
        token: whether callers need a token.
    """
    address = shlex.quote(f"{origin}/upload")
    return f"""echo 'print("Hello from a function")' > hello.py
curl {_header(token)}-F file=@hello.py -F name=hello \\
  {address}
{run(origin, token)}"""


def run(origin: str, token: bool) -> str:
    """Runs a function."""
    body = shlex.quote('{"functionId": "hello"}')
    return f"curl {_header(token)}-d {body} \\\n  {shlex.quote(f'{origin}/run')}"


def _header(token: bool) -> str:
    return '-H "Authorization: Bearer $GATEWAY_TOKEN" ' if token else ""
