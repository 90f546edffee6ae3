"""What fails before a pod is created, and what user code cannot see."""

import json

import pytest

from nanogrid import names
from scripts.devaccess import DevAccess
from support.forging_programs import FORGERIES, Forgery
from support.kubectl import Namespace, inline

pytestmark = pytest.mark.security


def test_requests_above_limits_fail_with_a_hint(namespace: Namespace) -> None:
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


def test_user_code_sees_no_credential(namespace: Namespace, dev: DevAccess) -> None:
    secret = dev.secret["AWS_SECRET_ACCESS_KEY"]
    status = namespace.run(inline("snoop", LOOK))
    found = json.loads(status["result"]["stdout"])

    # The positive control: the pod's agent has the key that the code must not see.
    pod = namespace.only_pod("snoop")
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

    (key,) = [e["value"] for e in agent["env"] if e["name"] == names.ENV_RESULT_KEY]
    others = [*pod["spec"].get("initContainers", []), sandbox]
    assert not [c["name"] for c in others if key in json.dumps(c)], "only the agent has the key"
    assert key not in json.dumps(status)
    assert secret not in status["result"]["stdout"]
    assert not [k for k in found["env"] if k.startswith(("AWS_", "NANOGRID_", "KUBERNETES_"))]
    assert found["token"] is False
    assert (found["CapEff"], found["NoNewPrivs"], found["Seccomp"]) == (
        "0000000000000000",
        "1",
        "2",
    )
    assert found["Uid"] == str(pod["spec"]["securityContext"]["runAsUser"])
    assert found["root"] == "Read-only file system"
    assert found["launcher"] in ("Permission denied", "Operation not permitted")


FORGED_STOPS = [
    forgery
    for forgery in FORGERIES
    if forgery.name in ("rt_sigqueueinfo with si_pid 0", "no room for the sender in PID 1")
]


@pytest.mark.parametrize("forgery", FORGED_STOPS, ids=["forged sender", "lost sender"])
def test_a_forged_stop_gives_no_attempt_for_free(namespace: Namespace, forgery: Forgery) -> None:
    name = f"forged-{FORGED_STOPS.index(forgery)}"
    status = namespace.run(inline(name, forgery.program, backoffLimit=1))

    assert (status["phase"], status["reason"]) == ("Failed", forgery.reason)
    assert status["result"]["exitCode"] == forgery.exit_code
    attempts = [(each["reason"], each["counted"]) for each in status["attempts"]]
    assert attempts == [(forgery.reason, True)] * 2
