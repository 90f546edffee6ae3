"""What fails before a pod is made, and what user code cannot see."""

import json

from e2e.support import Namespace, inline


def test_requests_above_limits_fail_with_a_cure(namespace: Namespace) -> None:
    status = namespace.run(
        inline(
            "upside-down",
            "print(1)",
            resources={"limits": {"memory": "64Mi"}, "requests": {"memory": "1Gi"}},
        )
    )

    assert (status["phase"], status["reason"]) == ("Failed", "InvalidSpec")
    assert "raise resources.limits.memory" in status["message"]


LOOK = """
import json, os, glob
found = {"env": dict(os.environ), "token": os.path.exists("/var/run/secrets"), "environ": []}
for path in glob.glob("/proc/[0-9]*/environ"):
    try:
        found["environ"].append(open(path).read())
    except OSError as e:
        found["environ"].append(e.__class__.__name__)
for line in open("/proc/self/status"):
    name, _, value = line.partition(":")
    if name in ("CapEff", "NoNewPrivs", "Seccomp", "Uid"):
        found[name] = value.split()[0]
try:
    open("/etc/written", "w")
    found["root"] = "writable"
except OSError as e:
    found["root"] = e.strerror
try:
    os.kill(1, 9)
    found["launcher"] = "signalled"
    open("/proc/1/mem", "rb")
    found["launcher"] = "readable"
except OSError as e:
    found["launcher"] = e.strerror
print(json.dumps(found))
"""


def test_user_code_sees_no_credential(namespace: Namespace) -> None:
    secret = "nanogrid-dev-secret"
    status = namespace.run(inline("snoop", LOOK))
    found = json.loads(status["result"]["stdout"])

    # The positive control: the pod's agent does hold the key that the code must not see.
    (pod,) = namespace.pods("snoop")
    agent, sandbox = pod["spec"]["containers"]
    assert (agent["name"], sandbox["name"]) == ("agent", "sandbox")
    assert "AWS_SECRET_ACCESS_KEY" in [e["name"] for e in agent["env"]]
    assert secret in namespace.kubectl(
        "get",
        "secret",
        "nanogrid-s3",
        "-o",
        "go-template={{.data.AWS_SECRET_ACCESS_KEY|base64decode}}",
    )

    assert secret not in status["result"]["stdout"]
    assert not [k for k in found["env"] if k.startswith(("AWS_", "NANOGRID_", "KUBERNETES_"))]
    assert found["token"] is False
    assert (found["CapEff"], found["NoNewPrivs"], found["Seccomp"]) == (
        "0000000000000000",
        "1",
        "2",
    )
    assert found["Uid"] == "65532"
    assert found["root"] == "Read-only file system"
    assert found["launcher"] in ("Permission denied", "Operation not permitted")
