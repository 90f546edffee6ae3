"""Reviews of tokens and permissions: what is asked for, and what an answer proves."""

import pytest

from nanogrid.client.kube.access_review import access_review as client_review
from nanogrid.kube.reviews import access_review, allowed, reviewed_user, token_review
from nanogrid.types import Json

ASKED = {"verb": "get", "resource": "pods", "group": "", "namespace": "team-a"}
USER = {"username": "ann"}

pytestmark = pytest.mark.security


def test_a_review_of_the_caller_names_no_user() -> None:
    path, body = access_review(ASKED)

    assert path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert body["kind"] == "SelfSubjectAccessReview"
    assert body["spec"] == {"resourceAttributes": ASKED}
    assert "metadata" not in body


def test_a_review_of_another_user_is_for_the_whole_cluster() -> None:
    path, body = access_review(ASKED, {"user": "ann"})

    assert path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert body["kind"] == "SubjectAccessReview"
    assert body["spec"] == {"user": "ann", "resourceAttributes": ASKED}


def test_a_local_review_is_in_its_namespace() -> None:
    path, body = access_review(ASKED, {"user": "ann"}, local="team-a")

    assert path == "/apis/authorization.k8s.io/v1/namespaces/team-a/localsubjectaccessreviews"
    assert body["kind"] == "LocalSubjectAccessReview"
    assert body["metadata"] == {"namespace": "team-a"}


def test_the_client_asks_for_a_subresource_and_for_a_service_account() -> None:
    own = client_review("get", "pods/log", None, "", "")
    account = client_review("get", "pods", "team-a", "", "team-a:runner")[1]["spec"]

    assert own[1]["spec"]["resourceAttributes"] == {
        "verb": "get", "resource": "pods", "subresource": "log", "group": "", "namespace": "",
    }  # fmt: skip
    assert account["user"] == "system:serviceaccount:team-a:runner"
    assert "system:serviceaccounts:team-a" in account["groups"]


def test_a_token_is_reviewed_for_its_audience() -> None:
    assert token_review("t", "results")[1]["spec"] == {"token": "t", "audiences": ["results"]}
    assert token_review("t")[1]["spec"] == {"token": "t"}


@pytest.mark.parametrize(
    ("status", "audience", "user"),
    [
        ({"authenticated": True, "user": USER}, "", USER),
        ({"authenticated": True, "audiences": ["results"], "user": USER}, "results", USER),
        ({"authenticated": True, "user": USER}, "results", None),
        ({"authenticated": True, "audiences": None, "user": USER}, "results", None),
        ({"authenticated": True, "audiences": ["other"], "user": USER}, "results", None),
        ({"authenticated": False, "audiences": ["results"], "user": USER}, "results", None),
        ({"error": "expired"}, "", None),
        (None, "", None),
    ],
)
def test_only_a_valid_token_for_the_audience_proves_a_user(
    status: Json | None, audience: str, user: Json | None
) -> None:
    assert reviewed_user({"status": status}, audience) == user


@pytest.mark.parametrize(
    ("status", "expected"),
    [({"allowed": True}, True), ({"allowed": False, "denied": True}, False), ({}, False)],
)
def test_only_an_allowed_review_allows(status: Json, expected: bool) -> None:
    assert allowed({"status": status}) is expected
    assert not allowed({})
