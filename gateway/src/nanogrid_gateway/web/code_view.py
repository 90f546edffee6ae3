"""The code and the input of a run, from its job. Pure."""

import shlex
from dataclasses import dataclass
from typing import Final

from nanogrid import names
from nanogrid.types import Json
from nanogrid_gateway.api.job_fields import status_of

MAX_CHARACTERS: Final = 20_000  # of each text


@dataclass(frozen=True, slots=True)
class CodeView:
    """What a run runs: text or a ZIP, its command, and everything that it gets."""

    inline: str
    archive: str
    command: str
    image: str
    stdin: str
    inputs: list[tuple[str, str, str]]
    variables: list[tuple[str, str]]


def view_of(job: Json) -> CodeView:
    """The code and the input of a job; empty parts if it has none."""
    spec, pinned = job["spec"], status_of(job).get("function") or {}
    code = spec.get("code") or {}
    command = [*(spec.get("command") or pinned.get("command") or []), *(spec.get("args") or [])]
    runtime = spec.get("runtime") or pinned.get("runtime") or {}
    return CodeView(
        inline=_short(str(code.get("inline") or "")),
        archive=_place(code.get("s3") or pinned.get("s3") or {}),
        command=shlex.join(map(str, command)),
        image=str(runtime.get("image") or ""),
        stdin=_short(str(spec.get("stdin") or "")),
        inputs=[
            (
                str(one.get("name") or ""),
                _place(one.get("s3") or {}),
                str(one.get("mountPath") or names.DEFAULT_DATA_PATH),
            )
            for one in spec.get("inputs") or []
        ],
        variables=[
            (str(one.get("name") or ""), _source(one))
            for one in [*(pinned.get("env") or []), *(spec.get("env") or [])]
        ],
    )


def _place(s3: Json) -> str:
    """A place in S3: with its bucket if the job names one, else below the namespace's root."""
    path = str(s3.get("key") or s3.get("prefix") or "")
    return f"s3://{s3['bucket']}/{path}" if s3.get("bucket") and path else path


def _source(variable: Json) -> str:
    """Where a value comes from; the page does not show values, which may be secret."""
    ref = (variable.get("valueFrom") or {}).get("secretKeyRef")
    return f"key {ref.get('key')} of Secret {ref.get('name')}" if ref else "value in the job"


def _short(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    return f"{text[:MAX_CHARACTERS]}\n… (shortened)"
