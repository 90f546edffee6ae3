"""What one execution in a session gave: text, error, and what it displayed."""

import base64
import html
from dataclasses import dataclass
from typing import Any, Final

from nanogrid.client.errors import NanoGridError, cure_of

Json = dict[str, Any]
SHOWN_CHARACTERS: Final = 4000


class ExecutionFailed(NanoGridError):
    """The code of an execution failed.

    Attributes:
        reason: one word, see docs/reasons.md.
        result: the :class:`Execution`.
    """

    def __init__(self, execution: "Execution") -> None:
        super().__init__(
            f"execution {execution.number}: {execution.reason}: {execution.error}",
            cure_of(execution.reason),
        )
        self.reason = execution.reason
        self.result = execution


@dataclass(frozen=True)
class Display:
    """One thing that the code displayed, as a notebook has it: ``data`` by MIME type."""

    data: dict[str, str]

    @property
    def png(self) -> bytes | None:
        """The picture, if it is one."""
        found = self.data.get("image/png")
        return None if found is None else base64.b64decode(found)

    @property
    def html(self) -> str | None:
        """HTML, of a table for example."""
        return self.data.get("text/html")

    @property
    def text(self) -> str | None:
        """Plain text."""
        return self.data.get("text/plain")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """For notebooks."""
        return self.data


class Execution:
    """The answer to one execute; ``raw`` is its JSON."""

    def __init__(self, raw: Json) -> None:
        self.raw = raw
        self.number = int(raw["execution_num"])
        self.results = [Display(bundle) for bundle in raw.get("results") or []]

    @property
    def success(self) -> bool:
        """Whether the code ended well."""
        return bool(self.raw["success"])

    @property
    def status(self) -> str:
        """SUCCESS, FAILED or TIMEOUT."""
        return str(self.raw["status"])

    @property
    def reason(self) -> str:
        """Why it ended, in one word."""
        return str(self.raw.get("reason") or "")

    @property
    def error(self) -> str | None:
        """What went wrong; None for a success."""
        found = self.raw.get("error")
        return None if found is None else str(found)

    @property
    def exit_code(self) -> int | None:
        """Exit code of the process, if it was one."""
        found = self.raw.get("exit_code")
        return None if found is None else int(found)

    @property
    def stdout(self) -> str:
        """What it printed; shortened when raw["stdoutTruncated"]."""
        return str(self.raw.get("stdout") or "")

    @property
    def stderr(self) -> str:
        """What it printed to stderr."""
        return str(self.raw.get("stderr") or "")

    @property
    def duration_millis(self) -> int:
        """How long it ran."""
        return int(self.raw.get("durationMillis") or 0)

    @property
    def peak_memory_bytes(self) -> int | None:
        """Most memory it used, as far as that could be measured."""
        found = self.raw.get("peakMemoryBytes")
        return None if found is None else int(found)

    @property
    def sandbox_restarted(self) -> bool:
        """Whether the sandbox died and began anew before this answer: contexts are gone."""
        return bool(self.raw.get("sandboxRestarted"))

    @property
    def context_new(self) -> bool:
        """Whether its context began with it, without variables of an older one of that name."""
        return bool(self.raw.get("contextNew"))

    def raise_for_status(self) -> "Execution":
        """The execution itself, if it is a success.

        Raises:
            ExecutionFailed: it is none.
        """
        if not self.success:
            raise ExecutionFailed(self)
        return self

    def __repr__(self) -> str:
        return f"<Execution {self.number} {self.status} {self.reason}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        shown = [
            f"<pre>{html.escape(text[-SHOWN_CHARACTERS:])}</pre>"
            for text in (self.stdout, self.stderr)
            if text
        ]
        for one in self.results:
            if "image/png" in one.data:
                shown.append(f'<img src="data:image/png;base64,{one.data["image/png"]}">')
            elif one.html is not None:
                shown.append(one.html)
            elif one.text is not None:
                shown.append(f"<pre>{html.escape(one.text)}</pre>")
        return "".join(shown) or f"<div>{html.escape(self.status)}</div>"
