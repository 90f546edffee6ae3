"""`helm test` on the real release: it runs a job, and its rights are gone afterwards."""

import pytest

from support.helm import helm
from support.kubectl import kubectl
from support.release import IN_RELEASE, RELEASE, RELEASE_NAMESPACE

pytestmark = pytest.mark.alone


def test_helm_test_runs_a_real_job_and_leaves_nothing() -> None:
    done = helm("test", RELEASE, "--namespace", RELEASE_NAMESPACE, "--timeout", "10m")
    logs = kubectl(*IN_RELEASE, "logs", f"{RELEASE}-test")

    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert "the CRDs are installed" in logs
    for server in (RELEASE, f"{RELEASE}-gateway", f"{RELEASE}-router"):
        assert f"http://{server}.{RELEASE_NAMESPACE}.svc:8080/readyz is ready" in logs
    assert "a job succeeded" in logs
    kinds = "serviceaccounts,roles,rolebindings,executionjobs"
    left = kubectl(*IN_RELEASE, "get", kinds, "--output", "name").splitlines()
    assert [name for name in left if name.endswith(f"/{RELEASE}-test")] == []
    # The same search finds the objects of the release.
    assert f"serviceaccount/{RELEASE}" in left
    kubectl(*IN_RELEASE, "delete", "pod", f"{RELEASE}-test")
