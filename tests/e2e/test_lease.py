"""Leader election: a rolling update hands over the Lease at once, a lost pod is replaced soon."""

import time

from nanogrid.types import Json
from support.kubectl import Namespace, eventually, inline, kubectl, kubectl_json
from support.release import IN_RELEASE, OPERATOR, OPERATOR_LABEL, RELEASE, wait_for_operator


def lease() -> Json:
    """The Lease's spec."""
    found: Json = kubectl_json(*IN_RELEASE, "get", "lease", RELEASE)["spec"]
    return found


def settled_lease() -> Json:
    """The Lease, held by the only operator pod: an earlier handover has ended."""

    def settled() -> Json | None:
        pods = kubectl(*IN_RELEASE, "get", "pods", "-l", OPERATOR_LABEL, "-o", "name").split()
        now = lease()
        return now if pods == [f"pod/{now.get('holderIdentity')}"] else None

    found: Json = eventually("the operator's only pod holds the Lease", settled)
    return found


def with_new_holder(before: Json) -> Json | None:
    """The Lease, if another holder has it."""
    now = lease()
    return now if now.get("holderIdentity") not in ("", None, before["holderIdentity"]) else None


def test_a_rolling_update_hands_over_while_jobs_run(namespace: Namespace) -> None:
    before = settled_lease()
    namespace.apply(inline("through", "import time; time.sleep(6); print('through')"))

    kubectl(*IN_RELEASE, "rollout", "restart", OPERATOR)
    free: list[float] = []

    def handed_over() -> Json | None:
        now = lease()
        if now.get("holderIdentity") == "":
            free.append(time.monotonic())
        return with_new_holder(before)

    after = eventually("another holder", handed_over)
    took = time.monotonic() - free[0] if free else 0.0
    wait_for_operator()

    log = kubectl(*IN_RELEASE, "logs", after["holderIdentity"])
    print(f"released and taken over within {took:.1f} s")
    assert f"standing by: {before['holderIdentity']} holds Lease" in log, "the new pod did not wait"
    assert took < before["leaseDurationSeconds"], "a released Lease is not waited for"
    assert namespace.finished("through")["result"]["stdout"] == "through\n"
    assert len(namespace.pods("through")) == 1


def test_a_lost_leader_is_replaced(namespace: Namespace) -> None:
    before = settled_lease()
    kubectl(
        *IN_RELEASE, "delete", "pod", before["holderIdentity"],
        "--force", "--grace-period=0",
    )  # fmt: skip
    began = time.monotonic()
    eventually("another holder", lambda: with_new_holder(before))
    took = time.monotonic() - began
    print(f"replaced after {took:.1f} s")

    assert namespace.run(inline("after", "print('after')"))["reason"] == "Completed"
