"""What came out of a job, and its output files."""

import hashlib
import html
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import urllib3
from urllib3.exceptions import HTTPError

from nanogrid import wire
from nanogrid.client.errors import Unreachable, api_error, cure_of, job_failed
from nanogrid.client.fulltext import full_text
from nanogrid.client.storage import Corrupt, Storage

Json = dict[str, Any]
TIMEOUT: Final = urllib3.Timeout(connect=10.0, read=60.0)
CHUNK_BYTES: Final = 1 << 20
SHOWN_CHARACTERS: Final = 4000


class Output:
    """One stored file: ``name`` relative to the output folder, ``bytes``, ``sha256``, ``url``."""

    def __init__(self, file: wire.OutputFile, storage: Callable[[], Storage]) -> None:
        self.name = file.path
        self.url = file.url
        self.bytes = file.bytes
        self.sha256 = file.sha256
        self.content_type = file.content_type
        self._storage = storage

    def read(self) -> bytes:
        """The content, checked.

        Raises:
            ApiError: it cannot be read (a presigned URL may have expired).
            Corrupt: it is not what the job stored.
        """
        return b"".join(self._checked())

    def download(self, path: str | Path) -> Path:
        """Store it as a file, or below a directory that exists; the path of the file.

        The file appears when it is whole and checked.

        Raises:
            OSError: it cannot be written. Otherwise see read.
        """
        target = Path(path)
        if target.is_dir():
            folder, target = target.resolve(), (target / self.name).resolve()
            if not target.is_relative_to(folder):
                raise Corrupt(f"{self.name!r} would be written outside {folder}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".part")
        try:
            with partial.open("wb") as file:
                for chunk in self._checked():
                    file.write(chunk)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return target

    def _checked(self) -> Iterator[bytes]:
        digest, size = hashlib.sha256(), 0
        for chunk in self._chunks():
            digest.update(chunk)
            size += len(chunk)
            yield chunk
        if (size, digest.hexdigest()) != (self.bytes, self.sha256):
            raise Corrupt(f"{self.name}: {size} bytes read, of other content than was stored.")

    def _chunks(self) -> Iterator[bytes]:
        if self.url.startswith("s3://"):
            yield from self._storage().chunks(self.url)
            return
        try:
            with urllib3.PoolManager() as pool:
                answer = pool.request(
                    "GET", self.url, preload_content=False, timeout=TIMEOUT, retries=3
                )
                if answer.status >= 300:
                    cure = "A presigned URL may have expired: read it from S3."
                    raise api_error(answer.status, "", f"{self.name}: {answer.status}.", cure)
                yield from answer.stream(CHUNK_BYTES)
        except HTTPError as e:
            raise Unreachable(0, type(e).__name__, f"{self.name}: {e}.") from e

    def __repr__(self) -> str:
        return f"Output({self.name!r}, {self.bytes} bytes, {self.url})"


class Result:
    """What came out of a job; the same whether it succeeded or not.

    Attributes:
        raw: the JSON as the job's status or the gateway has it.
        outputs: stored files by name.
    """

    def __init__(self, raw: Json, storage: Callable[[], Storage]) -> None:
        self.raw = raw
        self._storage = storage
        self._wire = wire.from_dict(wire.Result, raw)
        self.outputs: Mapping[str, Output] = {
            file.path: Output(file, storage) for file in self._wire.outputs
        }

    @classmethod
    def of_job(cls, job: Json, storage: Callable[[], Storage]) -> "Result":
        """From a finished job, also one that has only a reason."""
        status = job.get("status") or {}
        return cls(status.get("result") or _bare(job, status), storage)

    @property
    def status(self) -> str:
        """SUCCESS, FAILED or TIMEOUT."""
        return self._wire.status

    @property
    def succeeded(self) -> bool:
        """Whether the code ended well and its outputs are stored."""
        return self._wire.status == wire.STATUS_SUCCESS

    @property
    def reason(self) -> str:
        """Why it ended, in one word; docs/reasons.md has them all."""
        return self._wire.reason

    @property
    def message(self) -> str:
        """Why it ended, in a sentence."""
        return self._wire.message

    @property
    def cure(self) -> str:
        """What to do about it."""
        return cure_of(self._wire.reason)

    @property
    def request_id(self) -> str:
        """Names the result in S3 and Redis."""
        return self._wire.request_id

    @property
    def exit_code(self) -> int | None:
        """None when the code never ran; 128 + number for a signal."""
        return self._wire.exit_code

    @property
    def stdout(self) -> str:
        """What the code printed; the tail of it when ``truncated``."""
        return self._wire.stdout

    @property
    def stderr(self) -> str:
        """What the code printed to stderr; the tail of it when ``truncated``."""
        return self._wire.stderr

    @property
    def truncated(self) -> bool:
        """Whether stdout or stderr are not whole here; full_stdout and full_stderr read them."""
        return self._wire.stdout_truncated or self._wire.stderr_truncated

    def full_stdout(self) -> str:
        """All that the code printed; read from S3 when ``stdout`` is shortened.

        S3 has the first ``spec.logs.maxBytes`` (default 10 MiB) of it.

        Raises:
            NotConfigured: it is in S3, and no S3 is configured here.
            NotKept: it was kept nowhere (logs.maxBytes: 0, or no bucket).
            ApiError: S3 refuses it.
        """
        return full_text(self, "stdout", self._storage)

    def full_stderr(self) -> str:
        """All that the code printed to stderr; see full_stdout."""
        return full_text(self, "stderr", self._storage)

    @property
    def duration_millis(self) -> int:
        """How long the code ran."""
        return self._wire.duration_millis

    @property
    def peak_memory_bytes(self) -> int | None:
        """Most memory the code used; None when it never ran."""
        return self._wire.peak_memory_bytes

    def raise_for_status(self) -> "Result":
        """The result itself, if it is a success.

        Raises:
            JobFailed: or the subclass of its reason, see :mod:`nanogrid.client.errors`.
        """
        if not self.succeeded:
            raise job_failed(self)
        return self

    def __repr__(self) -> str:
        code = "" if self.exit_code is None else f" exit_code={self.exit_code}"
        return f"<Result {self.request_id} {self.status} {self.reason}{code}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        peak = self.peak_memory_bytes
        memory = "" if peak is None else f" · {peak / (1 << 20):.0f} MiB"
        head = f"<b>{html.escape(self.status)}</b> {html.escape(self.reason)}"
        parts = [f"<div>{head} · {self.duration_millis} ms{memory}</div>"]
        if not self.succeeded:
            parts.append(f"<div>{html.escape(self.message)}</div>")
        parts += [
            f"<pre>{html.escape(text[-SHOWN_CHARACTERS:])}</pre>"
            for text in (self.stdout, self.stderr)
            if text
        ]
        rows = "".join(
            f"<li>{html.escape(one.name)} ({one.bytes} bytes)</li>" for one in self.outputs.values()
        )
        return "".join(parts) + (f"<ul>{rows}</ul>" if rows else "")


def _bare(job: Json, status: Json) -> Json:
    """A result for a job that ended with nothing but a reason."""
    metadata = job["metadata"]
    result = wire.blank_result(
        request_id=status.get("requestId") or metadata["uid"],
        function_id=job["spec"].get("functionId"),
        status=wire.STATUS_SUCCESS if status.get("phase") == "Succeeded" else wire.STATUS_FAILED,
        reason=status.get("reason", ""),
        job=wire.JobRef(
            namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]
        ),
        attempt=0,
        message=status.get("message", ""),
    )
    found: Json = wire.to_dict(result)
    return found


def finished(job: Json) -> bool:
    """Whether a job has ended for good."""
    return (job.get("status") or {}).get("phase") in ("Succeeded", "Failed")
