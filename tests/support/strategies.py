"""Hypothesis strategies for external data: specs, results, container states."""

from typing import Any

from hypothesis import strategies as st

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid.tenant_keys import RESERVED
from nanogrid_operator.model.pod_facts import Container, Ended, Pod
from support.builders import CREATED, JOB_UID, POD_NAME, POD_UID, a_result

Strategy = st.SearchStrategy[Any]

counts = st.integers(min_value=0, max_value=2**53)
millis = st.integers(min_value=0, max_value=10**9)
optional_text = st.none() | st.text(max_size=20)
seconds = st.floats(min_value=0, max_value=86400)

s3_sources = st.builds(
    wire.S3Source,
    bucket=st.text(),
    key=optional_text,
    prefix=optional_text,
    sha256=optional_text,
    version_id=optional_text,
)
inputs = st.builds(
    wire.Input,
    name=st.text(),
    s3=s3_sources,
    mount_path=st.text(),
    required=st.booleans(),
    min_files=counts,
    max_bytes=st.none() | counts,
    unpack=st.booleans(),
)
tasks = st.builds(
    wire.PodTask,
    execution_timeout_seconds=seconds,
    termination_grace_seconds=seconds,
    input_sync_timeout_seconds=seconds,
    upload_timeout_seconds=seconds,
    log_cap_bytes=counts,
    outputs=st.builds(wire.OutputRules, presigned_expiry_seconds=st.none() | counts),
    inputs=st.lists(inputs, max_size=3),
    code_s3=st.none() | s3_sources,
)
results = st.from_type(wire.Result)
reports = st.from_type(wire.Report)


@st.composite
def reported_results(draw: st.DrawFn) -> wire.Result:
    """A result of the job: any status, reason and exit code, also contradictory ones."""
    return a_result(
        status=draw(st.sampled_from(["SUCCESS", "FAILED", "TIMEOUT"])),
        reason=draw(st.sampled_from(list(Reason))).value,
        exit_code=draw(st.sampled_from([None, 0, 1, 137, 143])),
        attempt=draw(st.sampled_from([0, 0, 0, 1])),
        message=draw(st.text(max_size=30)),
    )


endings = st.builds(
    Ended,
    exit_code=st.sampled_from([0, 1, 137, 143]),
    reason=st.sampled_from(["Completed", "Error", "OOMKilled", "StartError", ""]),
    message=st.sampled_from(
        ["", "Killed", '{"reason":"InputNotFound","message":"s3://b/k"}', '{"reason":"Later"}']
    ),
)
container_states = st.one_of(
    st.just(Container()),
    st.just(Container(running=True)),
    st.builds(
        Container,
        waiting_reason=st.sampled_from(
            ["PodInitializing", "ErrImagePull", "InvalidImageName", "RunContainerError"]
        ),
        waiting_message=st.text(max_size=10) | st.just("OCI runtime create failed"),
    ),
    st.builds(Container, ended=endings),
)
pods = st.builds(
    Pod,
    name=st.just(POD_NAME),
    uid=st.just(POD_UID),
    job_uid=st.just(JOB_UID),
    attempt=st.just(0),
    created=st.just(CREATED),
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    reason=st.sampled_from(["", "Evicted", "DeadlineExceeded", "NodeLost"]),
    message=st.text(max_size=10),
    deleting=st.booleans(),
    unschedulable=st.sampled_from(["", "0/3 nodes are available"]),
    disruption=st.sampled_from([None, Reason.PREEMPTED, Reason.NODE_LOST, Reason.EVICTED]),
    memory_limit_bytes=st.none() | st.just(1 << 28),
    containers=st.fixed_dictionaries(
        {},
        optional={
            names.CONTAINER_CHECK: container_states,
            names.CONTAINER_SYNC: container_states,
            names.CONTAINER_AGENT: container_states,
            names.CONTAINER_SANDBOX: container_states,
        },
    ),
)

# Specs that the API server accepts.
_texts = st.text(max_size=30)
_arguments = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
_keys = st.from_regex(r"[a-z가-힣$()]{1,8}(/[a-z]{1,4}){0,2}", fullmatch=True).filter(
    lambda key: key.split("/")[0] not in RESERVED
)
_buckets = st.just("user-data")  # the only one that a namespace may name
_identifiers = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}[A-Za-z0-9]", fullmatch=True)
_objects: Strategy = st.fixed_dictionaries(
    {"key": _keys}, optional={"bucket": _buckets, "sha256": st.just("0" * 64)}
)
_codes: Strategy = st.one_of(
    st.fixed_dictionaries({"inline": st.text(min_size=1, max_size=200)}),
    st.fixed_dictionaries({"s3": _objects}),
)
_one_input: Strategy = st.fixed_dictionaries(
    {"name": st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True), "s3": _objects},
    optional={
        "mountPath": st.from_regex(r"/app/[a-z]{1,8}", fullmatch=True),
        "required": st.booleans(),
        "minFiles": st.integers(min_value=1, max_value=9),
        "unpack": st.booleans(),
    },
)
_variables: Strategy = st.fixed_dictionaries(
    {"name": st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), "value": _arguments}
)
_resources: Strategy = st.fixed_dictionaries(
    {},
    optional={
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "cpu": st.sampled_from([1, "2", "1500m"]),
                "memory": st.sampled_from(["64Mi", "1Gi", "1.5Gi", 268435456]),
            },
        ),
        "requests": st.fixed_dictionaries(
            {},
            optional={
                "cpu": st.sampled_from(["10m", "0.5"]),
                "memory": st.sampled_from(["16Mi", "64Mi"]),
            },
        ),
    },
)
_seconds = st.integers(min_value=1, max_value=86400)
specs: Strategy = st.fixed_dictionaries(
    {"code": _codes},
    optional={
        "requestId": _identifiers,
        "functionId": _identifiers,
        "command": st.lists(_arguments, min_size=1, max_size=4),
        "args": st.lists(_arguments, max_size=4),
        "stdin": _texts,
        "env": st.lists(_variables, max_size=4, unique_by=lambda v: v["name"]),
        "inputs": st.lists(_one_input, max_size=3, unique_by=lambda i: i["name"]),
        "outputs": st.fixed_dictionaries(
            {"path": st.just("out/files")},
            optional={
                "s3": st.fixed_dictionaries({"prefix": _keys}),
                "include": st.lists(_keys, max_size=2),
                "uploadPolicy": st.sampled_from(["Always", "OnSuccess", "Never"]),
                "urlFormat": st.sampled_from(["S3", "Presigned"]),
            },
        ),
        "logs": st.fixed_dictionaries({}, optional={"archive": st.booleans()}),
        "terminationGracePeriodSeconds": st.integers(0, 3600),
        "serviceAccountName": st.just("reports"),
        "priorityClassName": st.just("low"),
        "runtime": st.fixed_dictionaries({}, optional={"image": st.just("mine:1")}),
        "resources": _resources,
        "timeouts": st.fixed_dictionaries(
            {},
            optional={
                "startupSeconds": _seconds,
                "executionSeconds": _seconds,
                "uploadSeconds": _seconds,
            },
        ),
    },
)

# How a job is stopped and retried.
_amounts = st.sampled_from(["64Mi", "512Mi", "1Gi", 268435456])
_actions: Strategy = st.sampled_from(["FailJob", "Ignore", "Count"]).map(lambda a: {"action": a})
_memories: Strategy = st.builds(
    lambda factor, most: {
        "action": "RetryWithMoreMemory",
        "memory": {"factor": factor, "max": most},
    },
    st.sampled_from(["1", "1.5", "2", "10"]),
    _amounts,
)
_reasons: Strategy = st.lists(
    st.sampled_from([r.value for r in Reason]), min_size=1, max_size=3
).map(lambda found: {"onReasons": found})
_exit_codes: Strategy = st.builds(
    lambda operator, values: {"onExitCodes": {"operator": operator, "values": values}},
    st.sampled_from(["In", "NotIn"]),
    st.lists(st.sampled_from([1, 3, 137, 143]), min_size=1, max_size=2),
)
_rules: Strategy = st.builds(
    lambda what, then: {**what, **then}, _reasons | _exit_codes, _actions | _memories
)
failure_policies: Strategy = st.fixed_dictionaries(
    {"rules": st.lists(_rules, max_size=3)},
    optional={
        "backoff": st.fixed_dictionaries(
            {},
            optional={
                "initialSeconds": st.integers(0, 30),
                "factor": st.integers(1, 10),
                "maxSeconds": st.integers(0, 3600),
            },
        )
    },
)
controls: Strategy = st.fixed_dictionaries(
    {},
    optional={
        "cancel": st.booleans(),
        "suspend": st.booleans(),
        "activeDeadlineSeconds": st.integers(1, 1000),
        "ttlSecondsAfterFinished": st.integers(0, 1000),
        "backoffLimit": st.integers(0, 3),
        "failurePolicy": failure_policies,
    },
)

_label = r"[a-z0-9]([-a-z0-9]{0,11}[a-z0-9])?"
job_names = st.from_regex(rf"{_label}(\.{_label}){{0,3}}", fullmatch=True)
