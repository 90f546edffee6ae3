"""Upload a function, run it, read its result: a client of the gateway. Standard library only.

    python3 examples/gateway_client.py --url http://127.0.0.1:8080 --token "$TOKEN" \
        examples/http-function --input '{"names": ["민지", "Jiho"]}'

CODE is a ZIP, or a folder with main.py. The last line of the output is the JSON of the result.
"""

import argparse
import http.client
import io
import json
import os
import random
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 90
LONGEST_POLL_SECONDS = 3
LONGEST_PAUSE_SECONDS = 30
TRIES = 5
RETRYABLE = (429, 503)


class GatewayError(Exception):
    """The gateway did not answer with success; the text is from the gateway."""

    def __init__(self, status: int, body: Any) -> None:
        error = body.get("error", {}) if isinstance(body, dict) else {}
        super().__init__(f"{status} {error.get('reason', '')}: {error.get('message', body)}")
        self.status = status
        self.reason = error.get("reason")


def form(archive: bytes, fields: Mapping[str, str]) -> tuple[bytes, str]:
    """A form with fields and a ZIP, and its content type."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="code.zip"'
    body = "".join([*parts, head, "\r\nContent-Type: application/zip\r\n\r\n"]).encode()
    body += archive + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


class Gateway:
    """The calls that a client needs."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def upload(self, archive: bytes, **fields: str) -> Any:
        """Store a ZIP; returns functionId, version, s3Key, runtime, sha256."""
        return json.loads(self._call("POST", "/upload", *form(archive, fields))[1])

    def run(self, function_id: str, input_data: Any, request_id: str = "", **more: Any) -> Any:
        """Run a function and wait without limit; the requestId makes retries safe."""
        request_id = request_id or f"client-{uuid.uuid4().hex}"
        request = {"functionId": function_id, "inputData": input_data, "requestId": request_id}
        body = json.dumps(request | more).encode()
        status, answer = self._call("POST", "/run", body, "application/json")
        pause = 1
        while status == 202:
            time.sleep(pause)
            pause = min(LONGEST_POLL_SECONDS, 2 * pause)
            status, answer = self._call("GET", f"/runs/{request_id}")
        return json.loads(answer)

    def output(self, request_id: str, name: str) -> bytes:
        """One output file of a run."""
        return self._call("GET", f"/runs/{request_id}/outputs/{urllib.parse.quote(name)}")[1]

    def _call(
        self, method: str, path: str, body: bytes | None = None, kind: str = ""
    ) -> tuple[int, bytes]:
        for left in reversed(range(TRIES)):
            try:
                return self._send(method, path, body, kind)
            except urllib.error.HTTPError as e:
                if e.code not in RETRYABLE or not left:
                    raise GatewayError(e.code, _body(e)) from None
                pause = int(e.headers.get("Retry-After", "1"))
            except (OSError, http.client.HTTPException):
                # The connection was lost. A second upload would create another version.
                if path == "/upload" or not left:
                    raise
                pause = 1
            time.sleep(
                min(LONGEST_PAUSE_SECONDS, pause) + random.random()
            )  # not all clients at once
        raise AssertionError("the last try returns or raises")

    def _send(self, method: str, path: str, body: bytes | None, kind: str) -> tuple[int, bytes]:
        headers = self._headers | ({"Content-Type": kind} if kind else {})
        request = urllib.request.Request(self._url + path, body, headers, method=method)
        with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return answer.status, answer.read()


def _body(error: urllib.error.HTTPError) -> Any:
    text = error.read()
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="replace")


def zipped(code: Path) -> bytes:
    """The bytes of a ZIP, or of a new ZIP of a folder's files."""
    if code.is_file():
        return code.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(code.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(code).as_posix())
    return buffer.getvalue()


def main() -> int:
    """Upload, run, print; the exit code is 0 if the function succeeded."""
    parser = argparse.ArgumentParser(description="Upload a function, run it, read its result.")
    parser.add_argument("code", type=Path, help="a ZIP, or a folder with main.py")
    parser.add_argument("--url", default=os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080"))
    parser.add_argument("--token", default=os.environ.get("GATEWAY_TOKEN", ""))
    parser.add_argument("--runtime", default="python")
    parser.add_argument("--input", default="null", help="inputData as JSON")
    options = parser.parse_args()
    gateway = Gateway(options.url, options.token)
    try:
        function = gateway.upload(zipped(options.code), runtime=options.runtime)
        print(f"uploaded {function['functionId']}: {function['s3Key']}", file=sys.stderr)
        result = gateway.run(function["functionId"], json.loads(options.input))
    except (GatewayError, OSError, http.client.HTTPException, ValueError) as e:
        print(f"gateway_client: {e}", file=sys.stderr)
        return 2
    for file in result.get("outputs", []):
        content = gateway.output(result["requestId"], file["path"])
        print(f"output {file['path']}: {len(content)} bytes", file=sys.stderr)
    print(json.dumps(result, ensure_ascii=False))
    return 0 if result["status"] == "SUCCESS" else 1


if __name__ == "__main__":
    sys.exit(main())
