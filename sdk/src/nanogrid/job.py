"""The ExecutionJob as Kubernetes stores it: pydantic models of spec and status.

The CustomResourceDefinition is generated from these models (:mod:`nanogrid.crd`), so each field has
a description and every string, list and map has a bound: the API server refuses CEL rules over
unbounded data. ``cel(...)`` puts rules into a model's or field's JSON schema.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from nanogrid import names

CONDITION_TYPES = (
    "InputsSynced",
    "SandboxReady",
    "Executed",
    "OutputsUploaded",
    "ResultDelivered",
    "Complete",
    "Failed",
    "Finished",
)


def cel(*rules: tuple[str, str]) -> dict[str, JsonValue]:
    """Schema extra with CEL validations, each a (rule, message that says how to mend) pair."""
    return {"x-kubernetes-validations": [{"rule": r, "message": m} for r, m in rules]}


class Phase(StrEnum):
    """A summary for people; conditions are the truth."""

    PENDING = "Pending"
    SYNCING = "Syncing"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def terminal(self) -> bool:
        """Whether a job of this phase has ended for good."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


class Model(BaseModel):
    """camelCase in JSON, snake_case in Python; unknown fields are an error."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid"
    )


Bucket = Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*$")]
ObjectKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=cel(
            ("!self.startsWith('/')", "an S3 key does not start with '/': remove it"),
            (
                "!self.split('/').exists(p, p == '..')",
                "an S3 key may not hold a '..' segment: name the object itself",
            ),
        ),
    ),
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
Quantity = Annotated[
    str | int,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
            "maxLength": 32,
        }
    ),
]
Word = Annotated[str, Field(max_length=4096)]
Identifier = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
]


class S3Object(Model):
    """One object in S3."""

    bucket: Bucket | None = Field(None, description="Bucket; default is the operator's bucket.")
    key: ObjectKey = Field(description="Key of the object, for example functions/f1/v1.zip.")
    sha256: Sha256 | None = Field(
        None, description="Hex SHA-256 that the object must have; otherwise ChecksumMismatch."
    )


class S3Location(Model):
    """One object, or everything below a prefix."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.key) != has(self.prefix)",
                "give exactly one of key (one object) and prefix (all objects below it)",
            ),
            (
                "!has(self.sha256) || has(self.key)",
                "sha256 belongs to one object: use key, not prefix",
            ),
        )
    )

    bucket: Bucket | None = Field(None, description="Bucket; default is the operator's bucket.")
    key: ObjectKey | None = Field(None, description="Key of one object.")
    prefix: ObjectKey | None = Field(
        None, description="Prefix; all objects below it are copied, keeping their folders."
    )
    sha256: Sha256 | None = Field(None, description="Hex SHA-256 that the one object must have.")


class S3Target(Model):
    """Where output files go."""

    bucket: Bucket | None = Field(None, description="Bucket; default is the operator's bucket.")
    prefix: ObjectKey | None = Field(
        None, description="Prefix of the stored files; default is outputs/{requestId}/."
    )


class Code(Model):
    """The user's code, from exactly one source."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.inline) != has(self.s3)",
                "give exactly one code source: inline (the text itself) or s3 (a ZIP)",
            ),
        )
    )

    inline: str | None = Field(
        None,
        min_length=1,
        max_length=65536,
        description="Python source text, run as main.py. Put more than 64 KiB into a ZIP in S3.",
    )
    s3: S3Object | None = Field(
        None, description="A ZIP with main.py at its top level; it is unpacked into /app."
    )


class Input(Model):
    """Files that must be in place before the code starts."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*)$")] = (
        Field(description="Name of the input, unique within the job.")
    )
    s3: S3Location = Field(description="Where the files are.")
    mount_path: Annotated[
        str,
        Field(
            min_length=2,
            max_length=512,
            json_schema_extra=cel(
                (
                    "self.startsWith('/app/')",
                    "mountPath lies below /app, the code's working directory: /app/data, say",
                ),
                (
                    "!self.split('/').exists(p, p == '..' || p == '.')",
                    "mountPath may not hold '.' or '..' segments",
                ),
            ),
        ),
    ] = Field(names.DEFAULT_DATA_PATH, description="Directory below /app that gets the files.")
    required: bool = Field(
        True, description="Whether a missing key or too few files fail the job (InputNotFound)."
    )
    min_files: int = Field(
        1, ge=1, le=1_000_000, description="Least number of files that a required input must give."
    )
    max_bytes: int | None = Field(
        None, ge=1, le=1 << 50, description="Most bytes that the input may have (InputTooLarge)."
    )


class Outputs(Model):
    """Which files are stored after the code ended, and where."""

    path: Annotated[
        str,
        Field(
            min_length=1,
            max_length=512,
            json_schema_extra=cel(
                (
                    "!self.startsWith('/') && !self.split('/').exists(p, p == '..')",
                    "outputs.path is relative to /app and stays below it: output, say",
                ),
            ),
        ),
    ] = Field(
        names.DEFAULT_OUTPUT_DIR,
        description="Directory, relative to /app, whose files are stored when the code has ended.",
    )
    s3: S3Target | None = Field(None, description="Where the files go.")


class EnvVar(Model):
    """One environment variable of the code."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
            json_schema_extra=cel(
                (
                    " && ".join(f"!self.startsWith('{p}')" for p in names.RESERVED_ENV_PREFIXES),
                    "names that start with "
                    + ", ".join(names.RESERVED_ENV_PREFIXES)
                    + " are reserved: choose another",
                ),
            ),
        ),
    ] = Field(description="Name of the variable.")
    value: Annotated[str, Field(max_length=32768)] = Field("", description="Its value.")


class Runtime(Model):
    """The image that the code runs in."""

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        None,
        description="Image of the sandbox container; default is the executor image (Python). "
        "Another image must be built on the executor image, which holds the launcher.",
    )


class ResourceList(Model):
    """Amounts of what a container may use."""

    cpu: Quantity | None = Field(None, description="Cores, for example '1' or 500m.")
    memory: Quantity | None = Field(None, description="Bytes, for example 256Mi.")

    def amounts(self) -> dict[str, str]:
        """The amounts that are given, by name."""
        return {name: str(value) for name, value in self if value is not None}


class Resources(Model):
    """Resources of the sandbox container."""

    limits: ResourceList | None = Field(
        None, description="Most cpu and memory, for example {cpu: '1', memory: 256Mi}."
    )
    requests: ResourceList | None = Field(
        None, description="Reserved cpu and memory; default is the limits."
    )


class Timeouts(Model):
    """How long each phase may take, in seconds."""

    startup_seconds: int = Field(
        300, ge=1, le=86400, description="From the pod's creation to the start of the code."
    )
    execution_seconds: int = Field(
        300,
        ge=1,
        le=86400,
        description="For the code itself; beyond it, it is stopped and the result is TIMEOUT.",
    )
    upload_seconds: int = Field(300, ge=1, le=86400, description="For storing the output files.")


class Spec(Model):
    """What to run."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self == oldSelf",
                "the spec of a job cannot be changed: create a new job "
                "(kubectl create with metadata.generateName makes a fresh name each time)",
            ),
        )
    )

    mode: Literal["Batch"] = Field("Batch", description="Batch runs the code once.")
    request_id: Identifier | None = Field(
        None,
        description="Identifies the result in S3 and Redis; default is the job's uid. "
        "Use it once only.",
    )
    function_id: Identifier | None = Field(
        None, description="Name of the function that runs; it is echoed in the result."
    )
    code: Code = Field(description="The code to run.")
    command: Annotated[list[Word], Field(min_length=1, max_length=64)] | None = Field(
        None, description="Command to run in /app; default is python3 main.py."
    )
    args: Annotated[list[Word], Field(max_length=256)] | None = Field(
        None, description="Arguments after the command."
    )
    stdin: str | None = Field(
        None, max_length=65536, description="Text that the code reads on its standard input."
    )
    env: Annotated[
        list[EnvVar],
        Field(
            max_length=64,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = Field(default_factory=list, description="Environment variables of the code.")
    inputs: Annotated[
        list[Input],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = Field(default_factory=list, description="Files from S3, in place before the code starts.")
    outputs: Outputs | None = Field(None, description="Files that are stored afterwards.")
    runtime: Runtime | None = Field(None, description="The image that the code runs in.")
    resources: Resources | None = Field(None, description="Memory and cpu of the code.")
    timeouts: Timeouts | None = Field(None, description="How long each phase may take.")


Text = Annotated[str, Field(max_length=32768)]
Millis = Annotated[int, Field(ge=0)]


class Condition(Model):
    """A condition as in metav1.Condition."""

    type: Annotated[str, Field(max_length=64)] = Field(description="Type of the condition.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(max_length=64)] = Field(description="One word, see docs/reasons.")
    message: Text = Field("", description="What happened, in a sentence.")
    last_transition_time: Annotated[str, Field(max_length=64)] = Field(
        description="When the status last changed.", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int = Field(0, ge=0, description="Generation this was seen for.")


class InputStatus(Model):
    """What the input sync did."""

    files: int = Field(ge=0, description="Files in place.")
    bytes: int = Field(ge=0, description="Bytes in place.")
    duration_millis: Millis = Field(description="How long the sync took.")
    retries: int = Field(0, ge=0, description="Requests that had to be repeated.")


class Delivery(Model):
    """How the result reached Redis."""

    state: Literal["Delivered", "Pending", "Conflict"] = Field(
        description="Whether Redis has the result."
    )
    receivers: int | None = Field(None, ge=0, description="Subscribers that got the message.")
    stream_id: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="Entry in the results stream."
    )
    message: Text = Field("", description="What went wrong, if anything.")


class Attempt(Model):
    """One try at the job."""

    number: int = Field(ge=0, description="Number of the attempt, from 0.")
    pod_name: Annotated[str, Field(max_length=253)] = Field(description="Its pod.")
    reason: Annotated[str, Field(max_length=64)] = Field(description="How it ended.")


class Status(Model):
    """What became of a job; written by the operator only."""

    observed_generation: int | None = Field(None, ge=0, description="Generation acted upon.")
    phase: Phase | None = Field(None, description="Summary of the conditions.")
    reason: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="Why, in one word; docs/reasons.md has them all with their cures."
    )
    message: Text | None = Field(None, description="Why, in a sentence, and how to mend it.")
    pod_name: Annotated[str, Field(max_length=253)] | None = Field(
        None, description="The sandbox pod."
    )
    request_id: Annotated[str, Field(max_length=63)] | None = Field(
        None, description="The requestId in force."
    )
    start_time: Annotated[str, Field(max_length=64)] | None = Field(
        None,
        description="When the pod was created.",
        json_schema_extra={"format": "date-time"},
    )
    completion_time: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="When the job ended.", json_schema_extra={"format": "date-time"}
    )
    duration: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="How long the code ran, for people: 312ms."
    )
    peak_memory: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Peak and limit of memory, for people: 41Mi/256Mi."
    )
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = Field(default_factory=list, description="InputsSynced, Executed, Finished and others.")
    inputs: InputStatus | None = Field(None, description="What the input sync did.")
    result: dict[str, Any] | None = Field(
        None,
        description="The result JSON that Redis gets; stdout and stderr are capped tails here.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    attempts: Annotated[list[Attempt], Field(max_length=10)] = Field(
        default_factory=list, description="Tries at the job, the last 10."
    )
    delivery: Delivery | None = Field(None, description="How the result reached Redis.")


class ExecutionJob(Model):
    """A job: code and inputs that run once, in one sandbox pod, and give one result."""

    api_version: str = Field(names.API_VERSION, alias="apiVersion")
    kind: str = names.KIND
    metadata: dict[str, Any]
    spec: Spec
    status: Status = Field(default_factory=Status)
