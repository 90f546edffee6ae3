"""The event stream of one execution: text while the code runs, then its result."""

from collections.abc import Callable, Mapping
from typing import Final

from urllib3.exceptions import HTTPError

from nanogrid.client.errors import Unreachable
from nanogrid.client.http import Http
from nanogrid.client.sessions.sse import events
from nanogrid.types import Json

TextCallback = Callable[[str], None]
SILENCE_SECONDS: Final = 60.0  # four heartbeats
CHUNK_BYTES: Final = 1 << 16


class StreamedText:
    """Passes each piece of text on once, although a resumed stream starts from the beginning."""

    def __init__(self, on_stdout: TextCallback | None, on_stderr: TextCallback | None) -> None:
        self._callbacks = {"stdout": on_stdout, "stderr": on_stderr}
        self._passed = {"stdout": 0, "stderr": 0}  # characters
        self._position = dict(self._passed)

    def restart(self) -> None:
        """The stream starts from the beginning again."""
        self._position = {"stdout": 0, "stderr": 0}

    def add(self, stream: str, text: str) -> None:
        """Take the next text of a stream and pass on what is new in it."""
        begin = self._position[stream]
        self._position[stream] = end = begin + len(text)
        fresh = text[max(0, self._passed[stream] - begin) :]
        self._passed[stream] = max(self._passed[stream], end)
        callback = self._callbacks[stream]
        if fresh and callback is not None:
            callback(fresh)


def execute(http: Http, body: Json, headers: Mapping[str, str], text: StreamedText) -> Json:
    """POST /execute and follow its events; returns the JSON of the result.

    Raises:
        ApiError: the session refuses the request.
        Unreachable: the stream ends before the execution does.
    """
    text.restart()
    answer = http.send(
        "POST",
        "/execute",
        body=body,
        headers={"Accept": "text/event-stream", **headers},
        read_seconds=SILENCE_SECONDS,
        preload=False,
    )
    result: Json | None = None
    complete = False
    try:
        for name, data in events(answer.stream(CHUNK_BYTES, decode_content=True)):
            if name in ("stdout", "stderr"):
                text.add(name, data["text"])
            elif name == "end":
                if "execution_num" not in data:
                    raise Unreachable(0, "NoAnswer", f"the execution has no result: {data}.")
                result = data
        complete = True  # the next request can use the connection
    except (HTTPError, OSError) as e:
        if result is None:
            raise Unreachable(0, type(e).__name__, f"the stream broke: {e}.") from e
    finally:
        if not complete:
            answer.close()
    if result is None:
        raise Unreachable(0, "EndOfStream", "the stream ended before the execution did.")
    return result
