"""A ready session as the router keeps it: its job and its pod."""

from nanogrid_gateway.router.sessions import Address, Job, Pod

JOB_UID = "7b1f"
JOB = Job(
    address=Address("team-a", "s1"),
    uid=JOB_UID,
    request_id="r-1",
    phase="Running",
    reason="SessionReady",
    message="",
    pod_name="s1-0",
    unprotected=False,
    deleting=False,
)
POD = Pod(
    address=Address("team-a", "s1-0"),
    uid="p-1",
    owners=frozenset({JOB_UID}),
    ip="10.0.0.7",
    phase="Running",
    ready=True,
    message="",
    deleting=False,
)
