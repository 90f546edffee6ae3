"""Authorization by the cluster's reviews, and by a file of tokens."""

from pathlib import Path
from typing import Any

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid.settings import SettingsError
from nanogrid_gateway.api.auth import KubernetesAuth, TokenAuth
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.reviews import KNOWN_CALLER, Permission, require
from support.fake_clock import FakeClock

RUN = require("create")
# The API server compares the namespace of the path with that of the body.
LOCAL_REVIEWS = "/apis/authorization.k8s.io/v1/namespaces/functions/localsubjectaccessreviews"


class Reviews:
    """The API server's reviews of tokens and permissions."""

    namespace = "functions"

    def __init__(self) -> None:
        self.users = {"good-token": "caller-a"}
        self.may = {("caller-a", "create")}
        self.asked: list[str] = []
        self.places: list[str] = []  # the namespaces of the reviews of permissions
        self.away = False

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if self.away:
            raise KubeError(0, "TimeoutError", "away")
        self.asked.append(path.removeprefix("/apis/authentication.k8s.io/v1/"))
        spec = body["spec"]
        if "token" in spec:
            user = self.users.get(spec["token"])
            return {"status": {"authenticated": user is not None, "user": {"username": user}}}
        self.places.append(spec["resourceAttributes"]["namespace"])
        return {
            "status": {"allowed": (spec["user"], spec["resourceAttributes"]["verb"]) in self.may}
        }


@pytest.fixture
def reviews() -> Reviews:
    return Reviews()


async def status_of(auth: Any, header: str | None, permission: Permission = RUN) -> tuple[int, str]:
    try:
        user = await auth.caller(header, "1.2.3.4")
        await auth.check(user, permission)
        return 200, user.name
    except ApiError as e:
        return e.status, e.reason.value


async def test_the_cluster_knows_callers_and_their_permissions(reviews: Reviews) -> None:
    auth: Any = KubernetesAuth(reviews, "", 30, FakeClock())  # type: ignore[arg-type]

    assert await status_of(auth, "Bearer good-token") == (200, "caller-a")
    assert await status_of(auth, "bearer good-token", require("delete")) == (403, "Forbidden")
    wrong = ("", "Basic x", "Bearer ", "Bearer " + "x" * 20_000, "Bearer other", "Bearer 토큰")
    for header in (None, *wrong):
        assert await status_of(auth, header) == (401, "Unauthorized"), header


async def test_a_permission_in_another_namespace_is_asked_for_there(reviews: Reviews) -> None:
    auth: Any = KubernetesAuth(reviews, "", 30, FakeClock())  # type: ignore[arg-type]

    assert await status_of(auth, "Bearer good-token", RUN.within("team-a")) == (200, "caller-a")
    assert await status_of(auth, "Bearer good-token", RUN.within("functions")) == (200, "caller-a")
    assert reviews.asked[1:] == [
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        LOCAL_REVIEWS,
    ]
    assert reviews.places == ["team-a", "functions"]


async def test_a_known_caller_needs_a_valid_token_and_no_permission(reviews: Reviews) -> None:
    auth: Any = KubernetesAuth(reviews, "", 30, FakeClock())  # type: ignore[arg-type]
    reviews.may.clear()

    assert await status_of(auth, "Bearer good-token", KNOWN_CALLER) == (200, "caller-a")
    assert await status_of(auth, "Bearer other", KNOWN_CALLER) == (401, "Unauthorized")
    assert await status_of(auth, "Bearer good-token") == (403, "Forbidden")


async def test_the_answers_of_the_cluster_are_cached_for_a_short_time(reviews: Reviews) -> None:
    clock = FakeClock()
    auth: Any = KubernetesAuth(reviews, "", 30, clock)  # type: ignore[arg-type]
    for _ in range(3):
        assert (await status_of(auth, "Bearer good-token"))[0] == 200
    assert reviews.asked == ["tokenreviews", LOCAL_REVIEWS]

    del reviews.users["good-token"]
    clock.now += 29
    assert (await status_of(auth, "Bearer good-token"))[0] == 200
    clock.now += 2
    assert (await status_of(auth, "Bearer good-token"))[0] == 401

    reviews.users["good-token"] = "caller-a"
    clock.now += 6
    assert (await status_of(auth, "Bearer good-token"))[0] == 200


async def test_a_check_that_fails_lets_no_caller_in(reviews: Reviews) -> None:
    auth: Any = KubernetesAuth(reviews, "", 30, FakeClock())  # type: ignore[arg-type]
    reviews.away = True

    assert await status_of(auth, "Bearer good-token") == (503, "ClusterUnavailable")


async def test_the_audience_must_be_confirmed(reviews: Reviews) -> None:
    auth: Any = KubernetesAuth(reviews, "nanogrid", 30, FakeClock())  # type: ignore[arg-type]

    assert (await status_of(auth, "Bearer good-token"))[0] == 401


async def test_a_changed_file_of_tokens_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# who may enter\ncaller-a aaaaaaaaaaaaaaaaaaaa\n")
    auth = TokenAuth(str(file))
    assert await status_of(auth, "Bearer aaaaaaaaaaaaaaaaaaaa") == (200, "caller-a")
    assert (await status_of(auth, "Bearer bbbbbbbbbbbbbbbbbbbb"))[0] == 401

    (tmp_path / "new").write_text("caller-b bbbbbbbbbbbbbbbbbbbb\n")
    (tmp_path / "new").rename(file)
    assert await status_of(auth, "Bearer bbbbbbbbbbbbbbbbbbbb") == (200, "caller-b")
    assert (await status_of(auth, "Bearer aaaaaaaaaaaaaaaaaaaa"))[0] == 401


@pytest.mark.parametrize("text", ["", "caller-a", "caller-a short", "a b c"])
def test_a_file_without_valid_tokens_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(SettingsError, match="tokens"):
        TokenAuth(str(tmp_path / "tokens"))
