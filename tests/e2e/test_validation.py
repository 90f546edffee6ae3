"""Invalid manifests: the API server refuses each one with a message that says how to fix it.

The table is what users get wrong. `--dry-run=server` runs the same admission as a real apply.
"""

from typing import Any, NamedTuple

import pytest
import yaml

from nanogrid.types import Json
from support.kubectl import KubectlError, Namespace, inline, job

pytestmark = pytest.mark.security

CODE = {"inline": "print(1)"}
ZIP = {"s3": {"key": "functions/f/v1.zip"}}


class Bad(NamedTuple):
    """A spec, and a part of the message that refuses it."""

    name: str
    spec: Json
    message: str


def with_input(**fields: Any) -> Json:
    """A spec with one input that has these fields."""
    return {"code": CODE, "inputs": [{"name": "a", "s3": {"key": "k"}} | fields]}


def with_rule(**rule: Any) -> Json:
    """A spec with one failure rule."""
    return {"code": CODE, "backoffLimit": 1, "failurePolicy": {"rules": [rule]}}


def with_code(**code: Any) -> Json:
    return {"code": code}


def with_outputs(**outputs: Any) -> Json:
    return {"code": CODE, "outputs": outputs}


def with_field(**fields: Any) -> Json:
    return {"code": CODE} | fields


def with_limits(**limits: Any) -> Json:
    return {"code": CODE, "resources": {"limits": limits}}


MORE = {"factor": "2", "max": "1Gi"}
TABLE = [
    # Code.
    Bad("no code", {}, "a batch job needs code"),
    Bad("code and functionRef", {"code": CODE, "functionRef": {"name": "f"}}, "exactly one source"),
    Bad("functionRef without name", {"functionRef": {}}, "spec.functionRef.name: Required value"),
    Bad("function's name in capitals", {"functionRef": {"name": "F"}}, "spec.functionRef.name"),
    Bad("version 0", {"functionRef": {"name": "f", "version": 0}}, "spec.functionRef.version"),
    Bad(
        "another functionId",
        {"functionRef": {"name": "f"}, "functionId": "g"},
        "functionId differs from functionRef.name",
    ),
    Bad(
        "function in a session",
        {"mode": "Session", "functionRef": {"name": "f"}},
        "functionRef, backoffLimit, failurePolicy and suspend belong to mode: Batch",
    ),
    Bad("session block of a batch job", {"code": CODE, "session": {}}, "session belongs to mode"),
    Bad("command of a session", {"mode": "Session", "command": ["ls"]}, "belong to mode: Batch"),
    Bad(
        "idle longer than life",
        {"mode": "Session", "session": {"idleTimeoutSeconds": 100, "maxLifetimeSeconds": 50}},
        "exceeds maxLifetimeSeconds",
    ),
    Bad(
        "target group without ARN",
        {"mode": "Session", "session": {"expose": "TargetGroupBinding"}},
        "targetGroupARN belongs to expose",
    ),
    Bad("two sources", with_code(inline="x", **ZIP), "exactly one code source"),
    Bad("no source", with_code(), "exactly one code source"),
    Bad("empty inline", with_code(inline=""), "spec.code.inline"),
    Bad("inline too long", with_code(inline="x" * 65537), "spec.code.inline: Too long"),
    Bad("zip without key", with_code(s3={}), "spec.code.s3.key: Required value"),
    Bad("absolute key", with_code(s3={"key": "/a.zip"}), "does not start with '/'"),
    Bad("key with ..", with_code(s3={"key": "a/../b.zip"}), "'..' segment"),
    Bad("empty key", with_code(s3={"key": ""}), "spec.code.s3.key"),
    Bad("bucket in capitals", with_code(s3={"key": "k", "bucket": "Jobs"}), "bucket"),
    Bad("short bucket", with_code(s3={"key": "k", "bucket": "ab"}), "bucket"),
    Bad("sha256 of wrong length", with_code(s3={"key": "k", "sha256": "abc"}), "sha256"),
    Bad("sha256 in capitals", with_code(s3={"key": "k", "sha256": "A" * 64}), "sha256"),
    Bad("unknown field of code", with_code(inline="x", language="r"), "spec.code.language"),
    # Names.
    Bad("requestId with a slash", with_field(requestId="a/b"), "spec.requestId"),
    Bad("requestId too long", with_field(requestId="r" * 64), "spec.requestId"),
    Bad("requestId of Korean", with_field(requestId="요청"), "spec.requestId"),
    Bad("functionId with a space", with_field(functionId="a b"), "spec.functionId"),
    Bad("unknown mode", with_field(mode="Stream"), "spec.mode"),
    Bad("pool's name in capitals", with_field(poolRef={"name": "P"}), "spec.poolRef.name"),
    Bad("poolRef without name", with_field(poolRef={}), "spec.poolRef.name: Required value"),
    Bad("unknown inputStrategy", with_field(inputStrategy="Sidecar"), "spec.inputStrategy"),
    Bad("misspelt field", with_field(cod=1), 'unknown field "spec.cod"'),
    Bad("misspelt nested field", with_field(timeouts={"execution": 1}), "spec.timeouts.execution"),
    # Command, env, stdin.
    Bad("empty command", with_field(command=[]), "spec.command"),
    Bad("command as text", with_field(command="python3 main.py"), "spec.command"),
    Bad("NUL in args", with_field(args=["a\0b"]), "spec.args[0]"),
    Bad("NUL in env", with_field(env=[{"name": "A", "value": "\0"}]), "spec.env[0].value"),
    Bad("number in args", with_field(args=[1]), "spec.args"),
    Bad("stdin too long", with_field(stdin="x" * 65537), "spec.stdin"),
    Bad("env without name", with_field(env=[{"value": "1"}]), "spec.env[0].name"),
    Bad("env name with a dash", with_field(env=[{"name": "A-B"}]), "spec.env[0].name"),
    Bad("AWS variable", with_field(env=[{"name": "AWS_REGION"}]), "reserved: choose another"),
    Bad("our variable", with_field(env=[{"name": "NANOGRID_TASK"}]), "reserved: choose another"),
    Bad("env twice", with_field(env=[{"name": "A"}, {"name": "A"}]), "Duplicate value"),
    Bad("no source of env", with_field(env=[{"name": "A", "valueFrom": {}}]), "secretKeyRef"),
    Bad(
        "value and valueFrom",
        with_field(
            env=[
                {
                    "name": "A",
                    "value": "1",
                    "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}},
                }
            ]
        ),
        "value or valueFrom, not both",
    ),
    # Inputs.
    Bad("input without name", {"code": CODE, "inputs": [{"s3": {"key": "k"}}]}, "name"),
    Bad("input without source", {"code": CODE, "inputs": [{"name": "a"}]}, "s3: Required value"),
    Bad("input with neither", with_input(s3={}), "exactly one of key"),
    Bad("key and prefix", with_input(s3={"key": "k", "prefix": "p/"}), "exactly one of key"),
    Bad("prefix with ..", with_input(s3={"prefix": "a/../"}), "'..' segment"),
    Bad("empty prefix", with_input(s3={"prefix": ""}), "the root itself cannot be used"),
    Bad("root as prefix", with_input(s3={"prefix": "/"}), "the root itself cannot be used"),
    Bad("slash before prefix", with_input(s3={"prefix": "/a/"}), "remove the '/'"),
    Bad("sha256 of a prefix", with_input(s3={"prefix": "p/", "sha256": "a" * 64}), "use key"),
    Bad("version of a prefix", with_input(s3={"prefix": "p/", "versionId": "1"}), "use key"),
    Bad("unpack of a prefix", with_input(s3={"prefix": "p/"}, unpack=True), "use s3.key"),
    Bad("mountPath outside", with_input(mountPath="/etc"), "below /app"),
    Bad("mountPath relative", with_input(mountPath="data"), "below /app"),
    Bad("mountPath with ..", with_input(mountPath="/app/../etc"), "'..' segments"),
    Bad("no files wanted", with_input(minFiles=0), "minFiles"),
    Bad("negative maxBytes", with_input(maxBytes=-1), "maxBytes"),
    Bad("required as text", with_input(required="yes"), "required"),
    Bad("input name in capitals", with_input(name="Data"), "name"),
    Bad("same input twice", {"code": CODE, "inputs": [with_input()["inputs"][0]] * 2}, "Duplicate"),
    Bad(
        "seventeen inputs",
        {"code": CODE, "inputs": [{"name": f"i{n}", "s3": {"key": "k"}} for n in range(17)]},
        "spec.inputs: Too many",
    ),
    # Outputs.
    Bad("outputs outside", with_outputs(path="../x"), "stays below it"),
    Bad("outputs absolute", with_outputs(path="/x"), "stays below it"),
    Bad("absolute glob", with_outputs(include=["/etc/*"]), "a glob is relative"),
    Bad("glob with ..", with_outputs(exclude=["../*"]), "a glob is relative"),
    Bad("unknown policy", with_outputs(uploadPolicy="Sometimes"), "uploadPolicy"),
    Bad("expiry of more than a week", with_outputs(presignedExpirySeconds=604801), "presigned"),
    Bad("no files allowed", with_outputs(maxFiles=0), "maxFiles"),
    # Limits and lifecycle.
    Bad("memory in words", with_field(resources={"limits": {"memory": "lots"}}), "memory"),
    Bad("memory in MB", with_field(resources={"limits": {"memory": "256MB"}}), "memory"),
    Bad("no memory limit", with_limits(memory="0"), "memory is 16Mi at least"),
    Bad("no memory limit as a number", with_limits(memory=0), "memory is 16Mi at least"),
    Bad("memory in thousandths of a byte", with_limits(memory="300m"), "instead of 256m"),
    Bad("memory that starts nothing", with_limits(memory="2Mi"), "memory is 16Mi at least"),
    Bad("memory of no machine", with_limits(memory="9Ei"), "1Pi at most"),
    Bad("no cpu limit", with_limits(cpu=0), "cpu is 10m at least"),
    Bad("cpu below the kernel's quota", with_limits(cpu="0.001"), "cpu is 10m at least"),
    Bad(
        "no memory request",
        with_field(resources={"requests": {"memory": "0"}}),
        "memory is 1Mi at least",
    ),
    Bad(
        "memory of a session",
        {"mode": "Session", "resources": {"limits": {"memory": "512m"}}},
        "instead of 256m",
    ),
    Bad(
        "growth to thousandths of a byte",
        with_rule(
            action="RetryWithMoreMemory",
            onReasons=["OOMKilled"],
            memory={"factor": "2", "max": "512m"},
        ),
        "memory.max",
    ),
    Bad("negative cpu", with_field(resources={"limits": {"cpu": "-1"}}), "cpu"),
    Bad("no disk", with_field(resources={"limits": {"ephemeral-storage": "0"}}), "1Mi at least"),
    Bad(
        "thousandths of disk",
        with_field(resources={"requests": {"ephemeral-storage": "512m"}}),
        "the unit is bytes",
    ),
    Bad("gpu", with_field(resources={"limits": {"gpu": "1"}}), "gpu"),
    Bad("timeout of zero", with_field(timeouts={"executionSeconds": 0}), "executionSeconds"),
    Bad("timeout of two days", with_field(timeouts={"executionSeconds": 172800}), "execution"),
    Bad(
        "timeout beyond the deadline",
        with_field(timeouts={"executionSeconds": 60}, activeDeadlineSeconds=30),
        "exceeds activeDeadlineSeconds",
    ),
    Bad("negative grace", with_field(terminationGracePeriodSeconds=-1), "terminationGrace"),
    Bad("many retries", with_field(backoffLimit=11), "backoffLimit"),
    Bad("negative ttl", with_field(ttlSecondsAfterFinished=-1), "ttlSecondsAfterFinished"),
    Bad("cancel as text", with_field(cancel="true"), "cancel"),
    Bad("empty image", with_field(runtime={"image": ""}), "image"),
    # Failure policy.
    Bad("rule without action", with_rule(onReasons=["OOMKilled"]), "action"),
    Bad("rule for nothing", with_rule(action="Ignore"), "exactly one of onReasons"),
    Bad(
        "rule for both",
        with_rule(
            action="Ignore",
            onReasons=["OOMKilled"],
            onExitCodes={"operator": "In", "values": [1]},
        ),
        "exactly one of onReasons",
    ),
    Bad(
        "more memory without amount",
        with_rule(action="RetryWithMoreMemory", onReasons=["OOMKilled"]),
        "memory {factor, max} belongs",
    ),
    Bad(
        "memory for another action",
        with_rule(action="Ignore", onReasons=["OOMKilled"], memory=MORE),
        "memory {factor, max} belongs",
    ),
    Bad(
        "factor of nothing",
        with_rule(
            action="RetryWithMoreMemory", onReasons=["OOMKilled"], memory=MORE | {"factor": "0"}
        ),
        "factor",
    ),
    Bad(
        "exit code of 0",
        with_rule(action="Ignore", onExitCodes={"operator": "In", "values": [0]}),
        "values",
    ),
    Bad("unknown action", with_rule(action="Panic", onReasons=["OOMKilled"]), "action"),
    Bad("reason in small letters", with_rule(action="Ignore", onReasons=["oom"]), "onReasons"),
]


def test_the_table_is_long_enough_and_its_names_are_unique() -> None:
    assert len(TABLE) >= 60
    assert len({bad.name for bad in TABLE}) == len(TABLE)


@pytest.fixture(scope="module")
def anywhere(cluster: None) -> Namespace:
    """The default namespace, because a dry run creates nothing."""
    return Namespace("default")


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name)
def test_invalid_job_is_refused_with_a_hint(anywhere: Namespace, bad: Bad) -> None:
    manifest = yaml.safe_dump(job("bad", **bad.spec), allow_unicode=True)

    with pytest.raises(KubectlError) as refused:
        anywhere.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest)

    assert bad.message in str(refused.value)


def test_a_valid_job_with_many_fields_is_accepted(anywhere: Namespace) -> None:
    """The positive control of the table."""
    full = with_input(mountPath="/app/data/x", unpack=True, minFiles=2, maxBytes=10) | {
        "requestId": "r.1",
        "functionId": "f_1",
        "command": ["python3"],
        "args": ["main.py"],
        "stdin": "한글",
        "env": [{"name": "A", "value": "1"}],
        "outputs": {"path": "out", "include": ["**/*.csv"], "urlFormat": "Presigned"},
        "logs": {"maxBytes": 1024},
        "delivery": {"webhook": {"url": "https://hooks.example.com/a"}},
        "resources": {"limits": {"cpu": 1, "memory": "256Mi"}},
        "timeouts": {"executionSeconds": 30},
        "activeDeadlineSeconds": 60,
        "backoffLimit": 2,
        "failurePolicy": {
            "rules": [{"action": "RetryWithMoreMemory", "onReasons": ["OOMKilled"], "memory": MORE}]
        },
        "ttlSecondsAfterFinished": 0,
        "suspend": True,
    }
    manifest = yaml.safe_dump(job("good", **full), allow_unicode=True)

    printed = anywhere.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest)

    assert "created (server dry run)" in printed


@pytest.mark.parametrize(
    "spec",
    [
        with_field(activeDeadlineSeconds=60),
        with_field(activeDeadlineSeconds=60, timeouts={"uploadSeconds": 10}),
        {"mode": "Session", "session": {"maxLifetimeSeconds": 60}},
        {"mode": "Session", "session": {"idleTimeoutSeconds": 86400}},
        {"mode": "Session", "session": {"executionTimeoutSeconds": 86400}},
        with_field(network={"hosts": ["example.com"]}),
        with_field(network={"cidrs": ["203.0.113.0/24"]}),
        with_limits(memory="16Mi", cpu="10m"),
        with_limits(memory=268435456, cpu=2),
        with_limits(memory="1e9", cpu="0.5"),
    ],
    ids=str,
)
def test_defaults_do_not_contradict_what_is_written(anywhere: Namespace, spec: Json) -> None:
    manifest = yaml.safe_dump(job("given", **spec))

    printed = anywhere.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest)

    assert "created (server dry run)" in printed


def test_a_name_of_53_characters_is_refused(anywhere: Namespace) -> None:
    manifest = yaml.safe_dump(inline("n" * 53, "print(1)"))

    with pytest.raises(KubectlError, match="more than 52 characters"):
        anywhere.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest)


IMMUTABLE = {
    "code": {"inline": "print(2)"},
    "args": ["other"],
    "requestId": "other",
    "resources": {"limits": {"memory": "1Gi"}},
    "timeouts": {"executionSeconds": 9},
    "backoffLimit": 3,
    "serviceAccountName": "other",
    "activeDeadlineSeconds": 9999,
    "poolRef": {"name": "other"},
    "inputStrategy": "Agent",
    "outputs": {"path": "elsewhere"},
    "delivery": {"webhook": {"url": "https://hooks.example.com/b"}},
}


def test_only_cancel_suspend_and_ttl_of_the_spec_can_be_changed(namespace: Namespace) -> None:
    namespace.apply(inline("fixed", "print(1)", suspend=True))

    for field, value in IMMUTABLE.items():
        with pytest.raises(KubectlError, match=rf"spec.{field} of a job cannot be changed"):
            namespace.patch("fixed", **{field: value})
    for change in ({"ttlSecondsAfterFinished": 600}, {"suspend": False}, {"cancel": True}):
        namespace.patch("fixed", **change)
    with pytest.raises(KubectlError, match="a cancelled job stays cancelled"):
        namespace.patch("fixed", cancel=False)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("ej.spec", "for mode: Session"),
        ("ej.spec.inputs", "Files from S3"),
        ("ej.spec.inputs.s3.prefix", "All objects below it"),
        ("ej.spec.failurePolicy.rules.action", "RetryWithMoreMemory retries"),
        ("ej.status.result", "The JSON of the result"),
        ("ej.status.attempts.memoryLimit", "Memory limit of the attempt"),
    ],
)
def test_explain_is_useful_at_every_level(anywhere: Namespace, path: str, text: str) -> None:
    assert text in anywhere.kubectl("explain", path)
