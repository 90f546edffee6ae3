"""The pages of another namespace than the gateway's: read only, with logs and files."""

from collections.abc import Iterator

import pytest

from nanogrid import names
from nanogrid.types import Json
from nanogrid_gateway.api.runs.jobs import job_name
from support.gateway_fixtures import MARKS
from support.gateway_world import Gateway, World
from support.png import png
from support.s3_server import BUCKET
from support.web_teams import ALPHA, BETA, READ, text_of, visit
from support.web_visitor import JOBS, Tags
from support.web_world import a_job, add, finish_run

pytestmark = [*MARKS, pytest.mark.security]


def test_other_namespaces_are_read_only(teams: World, everywhere: Gateway) -> None:
    admin = visit(everywhere, "admin")
    fields = {"csrf_token": admin.csrf_token()}
    live, done = (
        text_of(admin.get(f"/web/ns/{ALPHA}/runs/alpha-{run}")) for run in ("live", "done")
    )

    assert f"nanogrid cancel {job_name('alpha-live')} -n {ALPHA}" in live
    assert f"nanogrid retry {job_name('alpha-done')} -n {ALPHA}" in done
    assert "Cancel…" not in live
    for action in ("cancel", "again"):
        assert admin.post(f"/web/ns/{ALPHA}/runs/alpha-live/{action}", fields).status == 404
    assert "cancel" not in teams.cluster.job("alpha-live")["spec"]
    assert "Cancel…" in text_of(admin.get("/web/runs/own-live"))


def test_pages_without_runs_have_commands_for_their_namespace(
    teams: World, everywhere: Gateway
) -> None:
    teams.cluster.rights_in |= {("empty", "guest", *right) for right in READ}
    try:
        visitor = visit(everywhere, "guest")
        runs = text_of(visitor.get("/web/ns/empty/"))
        functions = text_of(visitor.get("/web/ns/empty/functions"))
    finally:
        teams.cluster.rights_in -= {("empty", "guest", *right) for right in READ}

    assert "nanogrid run -c 'print(6 * 7)' -n empty" in runs
    assert "function upload main.py --name hello -n empty" in functions
    assert "/upload" not in functions  # that uploads to the gateway's namespace
    assert "-n NAMESPACE" in text_of(visit(everywhere, "guest").get("/web/all/"))


def test_the_log_of_a_run_of_another_namespace_is_streamed(
    teams: World, everywhere: Gateway
) -> None:
    job = a_job("alpha-short", ago=9, namespace=ALPHA, phase="Running", reason="Executing",
                podName="p-short")  # fmt: skip
    add(teams.cluster, job)

    def log() -> Iterator[bytes]:
        yield b"alpha-log\n"
        finish_run(teams.cluster, "alpha-short")

    teams.cluster.logs[f"{ALPHA}/p-short"] = log()
    teams.cluster.logs["p-short"] = [b"own-log\n"]
    events = visit(everywhere, "alpha").get(f"/web/ns/{ALPHA}/runs/alpha-short/logs").body.decode()
    teams.cluster.remove(JOBS, f"{ALPHA}/{job_name('alpha-short')}")

    assert "alpha-log" in events
    assert "own-log" not in events
    assert "event: end" in events


def test_a_file_of_another_namespace_comes_only_from_its_own_folder(
    teams: World, everywhere: Gateway
) -> None:
    visitor = visit(everywhere, "alpha")
    image = visitor.get(f"/web/ns/{ALPHA}/runs/alpha-done/files/chart.png?inline")
    assert (image.status, image.body) == (200, png())

    key = f"{ALPHA}/{job_name('alpha-done')}"
    job = teams.cluster.objects[names.PLURAL, key]
    others = [
        f"s3://{BUCKET}/{BETA}/outputs/beta-done/chart.png",
        f"s3://{BUCKET}/outputs/own-done/chart.png",
        f"s3://{BUCKET}/{ALPHA}/outputs/alpha-done/../../../{BETA}/outputs/beta-done/chart.png",
        f"http://s3/{BUCKET}/{BETA}/outputs/beta-done/chart.png?X-Amz-Signature=x",
        f"s3://other-bucket/{ALPHA}/outputs/alpha-done/chart.png",
        "",
    ]
    for url in others:
        teams.cluster.write(names.PLURAL, _with_url(job, url))
        refused = visitor.get(f"/web/ns/{ALPHA}/runs/alpha-done/files/chart.png")
        assert refused.status == 404, url
        command = f"nanogrid outputs get {job_name('alpha-done')} -n {ALPHA} --to ."
        assert command in Tags(refused).text
        assert png() not in refused.body
    teams.cluster.write(names.PLURAL, job)
    assert visitor.get(f"/web/ns/{ALPHA}/runs/alpha-done/files/chart.png").status == 200


def _with_url(job: Json, url: str) -> Json:
    result = job["status"]["result"]
    outputs = [result["outputs"][0] | {"url": url}]
    return job | {"status": job["status"] | {"result": result | {"outputs": outputs}}}
