"""Commands for pages that have nothing to show yet; a reader pastes them into a shell. Pure."""

import shlex
from typing import Final

from nanogrid import names

ANY_NAMESPACE: Final = "NAMESPACE"  # for a page of no single namespace: the reader replaces it


def code(namespace: str) -> str:
    """Runs code with the command line."""
    return f"nanogrid run -c 'print(6 * 7)' -n {_in(namespace)}"


def function(namespace: str) -> str:
    """Uploads a function with the command line."""
    return f"nanogrid function upload main.py --name hello -n {_in(namespace)}"


def cancel(namespace: str, job: str) -> str:
    """Stops a run."""
    return f"nanogrid cancel {shlex.quote(job)} -n {_in(namespace)}"


def retry(namespace: str, job: str) -> str:
    """Runs a run again."""
    return f"nanogrid retry {shlex.quote(job)} -n {_in(namespace)}"


def outputs(namespace: str, job: str) -> str:
    """Downloads the output files of a run."""
    return f"nanogrid outputs get {shlex.quote(job)} -n {_in(namespace)} --to ."


def logs(namespace: str, job: str) -> str:
    """Shows the output of a run."""
    return f"nanogrid logs {shlex.quote(job)} -n {_in(namespace)}"


def job(namespace: str) -> str:
    """Applies a job with kubectl."""
    return f"""kubectl -n {_in(namespace)} create -f - <<'END'
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


def _in(namespace: str) -> str:
    return shlex.quote(namespace or ANY_NAMESPACE)


def _header(token: bool) -> str:
    return '-H "Authorization: Bearer $GATEWAY_TOKEN" ' if token else ""
