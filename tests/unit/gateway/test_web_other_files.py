"""Which files of other namespaces the page reads."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from nanogrid.reasons import Reason
from nanogrid.s3.errors import S3Error
from nanogrid.tenancy import Area
from nanogrid.types import Json
from nanogrid_gateway.api.errors import ApiError, StorageDenied, storage_failed
from nanogrid_gateway.web import other_namespaces
from nanogrid_gateway.web.other_namespaces import OtherNamespaces, readable

pytestmark = pytest.mark.security

AREA = Area.of("team-a", bucket="jobs")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://jobs/team-a/outputs/r-1/a.png", True),
        ("s3://jobs/team-a/outputs/r-1/folder/a b.png", True),
        ("https://s3/jobs/team-a/outputs/r-1/a.png?X-Amz-Signature=x", True),
        ("s3://jobs/team-a/outputs/r-2/a.png", False),
        ("s3://jobs/team-a/outputs/r-10/a.png", False),
        ("s3://jobs/team-a/results/r-1/result.json", False),
        ("s3://jobs/team-b/outputs/r-1/a.png", False),
        ("s3://jobs/outputs/r-1/a.png", False),
        ("s3://jobs/team-a/outputs/r-1/../r-2/a.png", False),
        ("s3://jobs/team-a/outputs/r-1/%2e%2e/r-2/a.png", False),
        ("s3://jobs/team-a/outputs/r-1//a.png", False),
        ("s3://other/team-a/outputs/r-1/a.png", False),
        ("", False),
    ],
)
def test_only_the_runs_own_folder_is_read(url: str, expected: bool) -> None:
    assert readable({"path": "a.png", "url": url}, AREA, "r-1") is expected


def test_a_request_id_with_dots_opens_no_other_folder() -> None:
    key = {"url": "s3://jobs/team-b/outputs/x/a.png"}
    assert not readable(key, AREA, "../../team-b/outputs/x")


@pytest.mark.parametrize("prefix", ["", "prod/"])
async def test_a_file_that_the_gateway_may_not_read_names_the_command_that_can(
    monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    denied = storage_failed(S3Error("Access Denied", "s3://jobs/k", 403, "AccessDenied"))
    assert isinstance(denied, StorageDenied)
    gone = storage_failed(S3Error("slow down", "s3://jobs/k", 503, "SlowDown"))
    body = {
        "metadata": {"name": "sales", "uid": "u"},
        "spec": {"requestId": "r-1"},
        "status": {"result": {"outputs": [
            {"path": "a.png", "url": f"s3://jobs/{prefix}team-a/outputs/r-1/a.png"}]}},
    }  # fmt: skip
    settings = SimpleNamespace(s3_bucket="jobs", compatibility_namespace="", s3_prefix=prefix)
    failures: list[ApiError] = [denied, gone]

    class Objects:
        bucket = "jobs"

        async def download(self, bucket: str, key: str) -> None:
            assert (bucket, key) == ("jobs", f"{prefix}team-a/outputs/r-1/a.png")
            raise failures.pop(0)

    async def job(name: str) -> Json:
        return body

    def runs(self: Any, namespace: str) -> Any:
        return SimpleNamespace(job=job)

    monkeypatch.setattr(other_namespaces.OtherNamespaces, "runs", runs)
    gateway = cast(Any, SimpleNamespace(settings=settings, objects=Objects()))
    found = OtherNamespaces(gateway)

    with pytest.raises(ApiError, match="credentials for S3 do not reach") as refused:
        await found.open_output("team-a", "sales", "a.png")
    assert refused.value.status == 404
    assert "nanogrid outputs get sales -n team-a --to ." in refused.value.text
    with pytest.raises(ApiError) as failed:
        await found.open_output("team-a", "sales", "a.png")
    assert failed.value.reason == Reason.STORAGE_UNAVAILABLE
