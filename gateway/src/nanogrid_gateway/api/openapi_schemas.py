"""The schemas of the OpenAPI document: what the API answers."""

from typing import Final

from nanogrid import wire
from nanogrid.types import Json

TEXT: Final[Json] = {"type": "string"}
NUMBER: Final[Json] = {"type": "integer"}
MAYBE_NUMBER: Final[Json] = {"type": ["integer", "null"]}
OPEN: Final[Json] = {"type": "object"}


def _object(required: dict[str, Json], **more: Json) -> Json:
    return {"type": "object", "required": sorted(required), "properties": required | more}


LINKS: Final = _object({"self": TEXT, "logs": TEXT})
RUN: Final = _object(
    {"requestId": TEXT, "status": {"enum": ["PENDING", "RUNNING"]}, "phase": TEXT, "links": LINKS},
    functionId=TEXT,
    version=NUMBER,
    reason=TEXT,
    message=TEXT,
    createdAt=TEXT,
    memoryBytes=NUMBER,
)
RESULT: Final = _object(
    {
        "requestId": TEXT,
        "status": {"enum": ["SUCCESS", "FAILED", "TIMEOUT"]},
        "stdout": TEXT,
        "stderr": TEXT,
        "durationMillis": NUMBER,
        "optimizationTip": TEXT,
        "outputFiles": {"type": "array", "items": TEXT},
        "reason": TEXT,
    },
    functionId={"type": ["string", "null"]},
    exitCode=MAYBE_NUMBER,
    peakMemoryBytes=MAYBE_NUMBER,
    peakMemoryMB=MAYBE_NUMBER,
    namespace=TEXT,
    authentication={"type": ["string", "null"]},
    outputs={"type": "array", "items": OPEN},
    outputsNote=TEXT,
    stdoutEncoding={"enum": [wire.ENCODING_TEXT, wire.ENCODING_BINARY]},
    stderrEncoding={"enum": [wire.ENCODING_TEXT, wire.ENCODING_BINARY]},
)
VERSION: Final = _object(
    {"version": NUMBER, "s3Key": TEXT, "sha256": TEXT, "createdAt": TEXT},
    command={"type": "array", "items": TEXT},
)
FUNCTION: Final = _object(
    {"functionId": TEXT, "version": NUMBER, "s3Key": TEXT, "sha256": TEXT, "runtime": TEXT},
    createdAt=TEXT,
    memory={"type": ["string", "integer"]},
    timeout=NUMBER,
    pool=TEXT,
    runs=NUMBER,
    lastRun=OPEN,
    recommendation=OPEN,
)
ERROR: Final = _object(
    {"error": _object({"reason": TEXT, "message": TEXT}, found=OPEN)},
)
SCHEMAS: Final[Json] = {
    "Error": ERROR,
    "Run": RUN,
    "Result": RESULT,
    "RunLine": _object({"requestId": TEXT, "status": TEXT, "phase": TEXT, "links": LINKS}),
    "Runs": _object(
        {"runs": {"type": "array", "items": {"$ref": "#/components/schemas/RunLine"}}},
        **{"continue": TEXT},
    ),
    "Uploaded": _object(
        {
            "functionId": TEXT,
            "version": NUMBER,
            "s3Key": TEXT,
            "runtime": TEXT,
            "sha256": TEXT,
            "files": NUMBER,
            "warnings": {"type": "array", "items": TEXT},
        }
    ),
    "Function": FUNCTION,
    "Functions": _object(
        {"functions": {"type": "array", "items": {"$ref": "#/components/schemas/Function"}}},
        **{"continue": TEXT},
    ),
    "Version": VERSION,
    "Versions": _object(
        {"versions": {"type": "array", "items": {"$ref": "#/components/schemas/Version"}}}
    ),
    "Deleted": _object({"functionId": TEXT, "deletedObjects": NUMBER}),
    "Health": _object({"status": TEXT}),
    "Ready": _object(
        {
            "ready": {"type": "boolean"},
            "missing": {"type": "array", "items": TEXT},
            "warnings": {"type": "array", "items": TEXT},
        }
    ),
}
