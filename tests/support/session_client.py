"""Requests to a session's API in the same process, and checks of its responses."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from flask.testing import FlaskClient

from nanogrid.reasons import Reason

# Code that runs until the workspace has a file ``go``.
WAITS = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('gone')"


def run_code(client: FlaskClient, code: str, **more: Any) -> dict[str, Any]:
    """The answer of ``POST /execute``."""
    response: Any = client.post("/execute", json={"code": code, **more})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json
    return answer


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run something in a thread; after its end the list has the result."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def states(client: FlaskClient) -> list[str]:
    """The state of each execution."""
    response: Any = client.get("/executions")
    return [line["status"] for line in response.json["executions"]]


def assert_error(response: Any, status: int, reason: Reason) -> str:
    """Check an error response; returns its message."""
    assert response.status_code == status, response.text
    assert response.json["error"]["reason"] == reason.value
    message: str = response.json["error"]["message"]
    assert message
    return message


def events_of(chunks: Iterator[Any]) -> Iterator[tuple[str, str]]:
    """Names and data of server-sent events, without comments."""
    text = ""
    for chunk in chunks:
        text += chunk.decode() if isinstance(chunk, bytes) else chunk
        while "\n\n" in text:
            block, text = text.split("\n\n", 1)
            if block.startswith("event: "):
                name, data = block.split("\n", 1)
                yield name.removeprefix("event: "), data.removeprefix("data: ")
