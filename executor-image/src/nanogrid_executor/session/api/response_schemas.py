"""The schemas of responses, for the OpenAPI document."""

from typing import Any, Final

from nanogrid import wire

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
MAYBE_TEXT: Final[Schema] = {"type": ["string", "null"]}
MAYBE_COUNT: Final[Schema] = {"type": ["integer", "null"]}
FLAG: Final[Schema] = {"type": "boolean"}
ENCODING: Final[Schema] = {"type": "string", "enum": [wire.ENCODING_TEXT, wire.ENCODING_BINARY]}
STATUSES: Final = [wire.STATUS_SUCCESS, wire.STATUS_FAILED, wire.STATUS_TIMEOUT]


def _object(properties: Schema, *optional: str) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_EXECUTION: Final[Schema] = {
    "execution_num": COUNT,
    "status": {"type": "string", "enum": STATUSES},
    "success": FLAG,
    "reason": TEXT,
    "exit_code": MAYBE_COUNT,
    "signal": MAYBE_TEXT,
    "stdout": TEXT,
    "stderr": TEXT,
    "error": MAYBE_TEXT,
    "results": _list({"type": "object", "additionalProperties": TEXT}),
    "resultsDropped": COUNT,
    "context": MAYBE_TEXT,
    "contextNew": FLAG,
    "durationMillis": COUNT,
    "cpuMillis": MAYBE_COUNT,
    "peakMemoryBytes": MAYBE_COUNT,
    "memorySource": MAYBE_TEXT,
    "stdoutTruncated": FLAG,
    "stderrTruncated": FLAG,
    "stdoutEncoding": ENCODING,
    "stderrEncoding": ENCODING,
    "container_ip": TEXT,
    "timestamp": TEXT,
    "sandboxRestarted": FLAG,
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Error": _object(
        {
            "error": _object({"reason": TEXT, "message": TEXT}),
            "status": TEXT,
            "execution_num": MAYBE_COUNT,
        },
        "status",
        "execution_num",
    ),
    "Answer": _object({**_EXECUTION, "output": TEXT, "recorded": FLAG}),
    "Record": {
        "type": "object",
        "description": "while the execution has not ended: only its number, status and code",
        "required": ["execution_num", "status", "code"],
        "properties": {
            **_EXECUTION,
            "status": {"type": "string", "enum": [*STATUSES, "QUEUED", "RUNNING"]},
            "code": TEXT,
            "acceptedAt": TEXT,
            "startedAt": MAYBE_TEXT,
            "endedAt": TEXT,
            "queuedMillis": COUNT,
            "stdoutBytes": COUNT,
            "stderrBytes": COUNT,
        },
    },
    "Executions": _object(
        {
            "executions": _list(
                {
                    "type": "object",
                    "required": ["execution_num", "status"],
                    "properties": {"execution_num": COUNT, "status": MAYBE_TEXT},
                }
            ),
            "count": COUNT,
            "more": FLAG,
        }
    ),
    "Interrupting": _object({"execution_num": COUNT, "status": TEXT}),
    "Health": _object(
        {
            "status": {"type": "string", "enum": ["healthy", "initializing", "ending"]},
            "session_id": TEXT,
            "executions": COUNT,
            "running": MAYBE_COUNT,
            "waiting": COUNT,
            "sandboxRestarts": COUNT,
            "sync": {"type": "object", "additionalProperties": COUNT},
            "reason": TEXT,
        },
        "session_id",  # only with the session's token
        "session_id",  # only with the session's token
        "sync",
        "reason",
        "running",
        "waiting",
        "executions",
        "sandboxRestarts",
    ),
    "Info": {
        "type": "object",
        "required": ["session_id", "container_ip", "executions", "work_dir", "started_at"],
    },
    "Ending": _object({"status": TEXT, "session_id": TEXT}),
    "Contexts": _object(
        {
            "contexts": _list(
                _object(
                    {
                        "name": TEXT,
                        "executions": COUNT,
                        "busy": FLAG,
                        "ageSeconds": {"type": "number"},
                        "memoryBytes": MAYBE_COUNT,
                    }
                )
            )
        }
    ),
    "Dropped": _object({"context": TEXT, "dropped": FLAG}),
    "Files": _object(
        {
            "path": TEXT,
            "files": _list(
                _object(
                    {
                        "path": TEXT,
                        "type": {"type": "string", "enum": ["file", "directory", "link", "other"]},
                        "bytes": COUNT,
                        "modified": {"type": "number"},
                        "unreadable": TEXT,
                    },
                    "unreadable",
                )
            ),
            "count": COUNT,
            "truncated": FLAG,
        }
    ),
    "Sent": _object({"path": TEXT, "bytes": COUNT, "sha256": TEXT, "url": MAYBE_TEXT}),
    "Deleted": _object({"path": TEXT, "deleted": FLAG}),
    "Synced": _object(
        {
            "status": TEXT,
            "files": COUNT,
            "bytes": COUNT,
            "durationMillis": COUNT,
            "retries": COUNT,
            "files_list": _list(TEXT),
            "truncated": FLAG,
        }
    ),
}
