"""Three namespaces for the web page's tests, and callers with rights in one, in all, or in none."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.gateway_cluster import NAMESPACE
from support.gateway_world import Answer, Gateway, World, a_world, wait_for
from support.png import png
from support.s3_server import BUCKET, S3Server
from support.web_visitor import FUNCTIONS, JOBS, Tags, Visitor, shown_runs, signed_in
from support.web_world import a_function, a_job, add, add_finished

OWN, ALPHA, BETA = NAMESPACE, "team-alpha", "team-beta"
READ = [(verb, kind) for kind in (JOBS, FUNCTIONS) for verb in ("get", "list")]
CALLERS = {
    "alpha": "the-token-of-alpha-in-team-alpha",
    "own": "the-token-of-one-in-the-own-namespace",
    "guest": "the-token-of-a-guest",
    "admin": "the-token-of-an-administrator",
}
HOME = "/web/all/"


def fill_team(cluster: Any, s3: S3Server, team: str, namespace: str) -> None:
    """A run that has ended, with files; one that runs; one that waits; and a function."""
    function = f"{team}-function"
    a_function(cluster, function, namespace=namespace)
    done = a_job(f"{team}-done", phase="Succeeded", reason="Completed", namespace=namespace,
                 function=function)  # fmt: skip
    root = "" if namespace == OWN else f"{namespace}/"
    key = f"{root}outputs/{team}-done/chart.png"
    s3.client.put_object(Bucket=BUCKET, Key=key, Body=png(), ContentType="image/png")
    outputs = [{"path": "chart.png", "url": f"s3://{BUCKET}/{key}", "bytes": len(png()),
                "contentType": "image/png"}]  # fmt: skip
    add_finished(cluster, done, stdout=f"{team}-output", outputs=outputs)
    live = {"phase": "Running", "reason": "Executing", "podName": f"p-{team}"}
    add(cluster, a_job(f"{team}-live", ago=50, namespace=namespace, function=function, **live))
    waits = {"phase": "Pending", "reason": "Unschedulable", "message": f"{team}-message"}
    add(cluster, a_job(f"{team}-waits", ago=90, namespace=namespace, function=function, **waits))


@pytest.fixture(scope="module")
def teams(s3_server: S3Server) -> Iterator[World]:
    """Three namespaces, and callers with rights in one, in all, and in none of them."""
    with a_world(s3_server) as world:
        for team, namespace in (("own", OWN), ("alpha", ALPHA), ("beta", BETA)):
            fill_team(world.cluster, s3_server, team, namespace)
        world.cluster.tokens |= {token: name for name, token in CALLERS.items()}
        world.cluster.rights |= {("own", *right) for right in [*READ, ("patch", JOBS)]}
        world.cluster.rights_in |= {(ALPHA, "alpha", *right) for right in READ}
        world.cluster.rights_in |= {("", "admin", *right) for right in [*READ, ("patch", JOBS)]}
        yield world


@pytest.fixture(scope="module")
def everywhere(teams: World) -> Iterator[Gateway]:
    """A gateway whose page shows all namespaces."""
    with teams.gateway(
        auth_mode="kubernetes",
        auth_cache_seconds=0,
        web_key="k" * 32,
        web_all_namespaces="true",
        compatibility_namespace=OWN,
    ) as gateway:
        wait_for(lambda: shown_runs(visit(gateway, "admin").get(HOME)), "the first listing")
        yield gateway


def visit(gateway: Gateway, caller: str) -> Visitor:
    """A visitor after the sign-in."""
    return signed_in(gateway, CALLERS[caller], HOME)


def text_of(answer: Answer) -> str:
    """The text of a page."""
    assert answer.status == 200, answer.body[-2000:]
    return " ".join(Tags(answer).text.split())
