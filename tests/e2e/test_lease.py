"""Who works: a rolling update hands the Lease over at once, a dead pod is followed soon."""

import time

from e2e.conftest import RELEASE, RELEASE_NAMESPACE
from e2e.support import Json, Namespace, eventually, inline, kubectl, kubectl_json

HANDOVER_SECONDS = 3.0


def lease() -> Json:
    """The Lease's spec."""
    found: Json = kubectl_json("-n", RELEASE_NAMESPACE, "get", "lease", RELEASE)["spec"]
    return found


def taken(before: Json) -> Json | None:
    """The Lease, once a follower holds it."""
    now = lease()
    return now if now.get("holderIdentity") not in ("", None, before["holderIdentity"]) else None


def test_a_rolling_update_hands_over_while_jobs_run(namespace: Namespace) -> None:
    before = lease()
    namespace.apply(inline("through", "import time; time.sleep(6); print('through')"))

    kubectl("-n", RELEASE_NAMESPACE, "rollout", "restart", f"deploy/{RELEASE}")
    free: list[float] = []

    def followed() -> Json | None:
        now = lease()
        if now.get("holderIdentity") == "":
            free.append(time.monotonic())
        return taken(before)

    after = eventually("another holder", followed, 60)
    took = time.monotonic() - free[0] if free else 0.0
    kubectl("-n", RELEASE_NAMESPACE, "rollout", "status", f"deploy/{RELEASE}", "--timeout=60s")

    log = kubectl("-n", RELEASE_NAMESPACE, "logs", after["holderIdentity"])
    print(f"released and taken over within {took:.1f} s")
    assert f"held by {before['holderIdentity']}" in log, "the new one did not stand by"
    assert took < HANDOVER_SECONDS
    assert namespace.finished("through")["result"]["stdout"] == "through\n"
    assert len(namespace.pods("through")) == 1


def test_a_pod_that_dies_is_followed(namespace: Namespace) -> None:
    before = lease()
    kubectl(
        "-n", RELEASE_NAMESPACE, "delete", "pod", before["holderIdentity"],
        "--force", "--grace-period=0",
    )  # fmt: skip
    began = time.monotonic()
    eventually("another holder", lambda: taken(before), 30)
    took = time.monotonic() - began
    print(f"followed after {took:.1f} s")

    assert namespace.run(inline("after", "print('after')"))["reason"] == "Completed"
