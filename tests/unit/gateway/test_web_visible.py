"""Which namespaces a caller sees, and what the index keeps of each."""

import asyncio

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid.settings import SettingsError
from nanogrid.types import Json
from nanogrid_gateway.api.reviews import Permission, User
from nanogrid_gateway.web.paths import EVERYWHERE, Scopes
from nanogrid_gateway.web.run_index import RunIndex, shares
from nanogrid_gateway.web.settings import WebSettings
from nanogrid_gateway.web.visible import CONCURRENT, MAX_REVIEWS, VisibleNamespaces
from support.fake_clock import FakeClock
from support.web_world import a_job

pytestmark = pytest.mark.security

ALPHA, ROOT = User("alpha"), User("root")


class Reviews:
    """The API server's answers; empty: all namespaces."""

    def __init__(self, *rights: tuple[User, str]) -> None:
        self.rights = set(rights)
        self.asked: list[str] = []
        self.now = self.most = 0
        self.away = False

    async def __call__(self, user: User, permission: Permission) -> bool:
        assert (permission.verb, permission.resource) == ("list", "executionjobs")
        assert permission.namespace is not None
        self.asked.append(permission.namespace)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        if self.away:
            raise KubeError(0, "TimeoutError", "away")
        return (user, permission.namespace) in self.rights


def names(count: int) -> list[str]:
    return [f"ns-{number:04}" for number in range(count)]


# --- the visible namespaces ------------------------------------------------------------------


async def test_a_caller_sees_the_namespaces_in_which_they_may_list_runs() -> None:
    reviews = Reviews((ALPHA, "a"), (ALPHA, "not-a-candidate"), (ROOT, "b"))
    visible = VisibleNamespaces(reviews, 30, FakeClock())

    assert await visible.of(ALPHA, ["a", "b", "c"]) == {"a"}
    assert sorted(reviews.asked) == ["", "a", "b", "c"]
    assert await visible.of(ROOT, ["a", "b", "c"]) == {"b"}
    assert await visible.of(ALPHA, []) == frozenset()


async def test_one_review_is_enough_for_who_may_list_all_namespaces() -> None:
    reviews = Reviews((ROOT, ""))
    visible = VisibleNamespaces(reviews, 30, FakeClock())

    for _ in range(3):
        assert await visible.of(ROOT, names(500)) is None
    assert reviews.asked == [""]


async def test_answers_are_kept_for_some_seconds_and_then_asked_again() -> None:
    clock, reviews = FakeClock(), Reviews((ALPHA, "a"))
    visible = VisibleNamespaces(reviews, 30, clock)
    for _ in range(3):
        assert await visible.of(ALPHA, ["a", "b"]) == {"a"}
    assert len(reviews.asked) == 3

    reviews.rights = {(ALPHA, "b")}
    clock.now += 14
    assert await visible.of(ALPHA, ["a", "b"]) == {"a"}
    clock.now += 17
    assert await visible.of(ALPHA, ["a", "b"]) == {"b"}

    reviews.rights = {(ALPHA, "")}
    clock.now += 31
    assert await visible.of(ALPHA, ["a", "b"]) is None
    reviews.rights = set()
    clock.now += 31
    assert await visible.of(ALPHA, ["a", "b"]) == frozenset()


async def test_the_reviews_of_a_request_are_bounded_and_the_rest_follows() -> None:
    reviews = Reviews(*((ALPHA, name) for name in names(250)))
    visible = VisibleNamespaces(reviews, 30, FakeClock())
    counts = []
    for _ in range(4):
        found = await visible.of(ALPHA, names(250))
        assert found is not None
        counts.append(len(found))

    assert counts == [MAX_REVIEWS, 2 * MAX_REVIEWS, 250, 250]
    assert len(reviews.asked) == 251
    assert 1 < reviews.most <= CONCURRENT


async def test_what_was_seen_is_asked_first_again() -> None:
    clock, reviews = FakeClock(), Reviews((ALPHA, "ns-0249"))
    visible = VisibleNamespaces(reviews, 30, clock)
    for _ in range(3):
        found = await visible.of(ALPHA, names(250))
    assert found == {"ns-0249"}

    clock.now += 31

    assert await visible.of(ALPHA, names(250)) == {"ns-0249"}


async def test_each_of_many_namespaces_is_reached_while_the_page_polls() -> None:
    clock, many = FakeClock(), names(3000)
    reviews = Reviews((ALPHA, many[0]), (ALPHA, many[-1]))
    visible = VisibleNamespaces(reviews, 30, clock)

    found = frozenset[str]()
    for _ in range(2 * len(many) // MAX_REVIEWS):
        found = await visible.of(ALPHA, many) or frozenset()
        clock.now += 2

    assert found == {many[0], many[-1]}


async def test_without_a_cache_each_request_has_the_answers_of_its_own_reviews() -> None:
    reviews = Reviews((ALPHA, "a"))
    visible = VisibleNamespaces(reviews, 0, FakeClock())

    for _ in range(2):
        assert await visible.of(ALPHA, ["a", "b"]) == {"a"}
    assert sorted(reviews.asked) == ["", "", "a", "a", "b", "b"]


async def test_requests_at_the_same_time_do_not_ask_twice() -> None:
    reviews = Reviews((ALPHA, "a"))
    visible = VisibleNamespaces(reviews, 30, FakeClock())

    found = await asyncio.gather(*(visible.of(ALPHA, ["a", "b"]) for _ in range(5)))

    assert found == [{"a"}] * 5
    assert len(reviews.asked) == 3


async def test_without_an_answer_nothing_is_visible() -> None:
    clock, reviews = FakeClock(), Reviews((ALPHA, "a"))
    visible = VisibleNamespaces(reviews, 30, clock)
    assert await visible.of(ALPHA, ["a"]) == {"a"}
    reviews.away = True
    with pytest.raises(KubeError, match="away"):
        await visible.of(ALPHA, ["a", *names(20)])
    reviews.away = False
    assert await visible.of(ALPHA, ["a"]) == {"a"}


# --- the index -------------------------------------------------------------------------------


def job(namespace: str, number: int, phase: str = "Succeeded") -> Json:
    body = a_job(f"{namespace}-{number:05}", ago=100_000 - number, namespace=namespace, phase=phase)
    body["metadata"]["uid"] = f"{namespace}-{number}"
    return body


def test_a_list_has_the_rows_and_counts_of_its_namespaces_only() -> None:
    index = RunIndex(max_rows=20)
    index.replace([*(job("a", n) for n in range(3)), *(job("b", n) for n in range(40))])

    assert {row.namespace for row in index.runs(frozenset({"a"})).rows} == {"a"}
    assert index.runs(frozenset({"a"})).left_out == 0
    assert index.runs(frozenset({"b"})).left_out == 40 - len(index.runs(frozenset({"b"})).rows)
    assert index.runs(frozenset()).rows == []
    assert index.runs(frozenset({"x"})).queue(5).phases == {}
    assert len(index.runs().rows) <= 20
    assert index.namespaces() == ["b", "a"]


@pytest.mark.parametrize("phase", ["Succeeded", "Pending"])
def test_a_large_namespace_does_not_push_out_the_runs_of_others(phase: str) -> None:
    index = RunIndex(max_rows=1000)
    for name in ("a", "b"):
        for n in range(100):
            index.put(job(name, n))
    for n in range(5000):
        index.put(job("large", n, phase))

    for name in ("a", "b"):
        kept = index.runs(frozenset({name}))
        assert (len(kept.rows), kept.left_out) == (100, 0)
    large = index.runs(frozenset({"large"}))
    assert len(index.runs().rows) <= 1000
    assert len(large.rows) >= 700
    assert len(large.rows) + large.left_out == 5000
    # The newest finished runs stay, and those that have waited longest.
    stays = 4999 if phase == "Succeeded" else 0
    assert f"large-{stays:05}" in {row.request_id for row in large.rows}


def test_unfinished_runs_stay_longer_than_finished_ones() -> None:
    index = RunIndex(max_rows=100)
    index.replace([job("a", n, "Running" if n < 50 else "Failed") for n in range(130)])

    kept = {row.request_id for row in index.runs().rows}
    assert {f"a-{n:05}" for n in range(50)} <= kept


@pytest.mark.parametrize(
    ("counts", "room", "expected"),
    [
        ({}, 10, {}),
        ({"a": 3}, 10, {"a": 3}),
        ({"a": 30}, 10, {"a": 10}),
        ({"a": 2, "b": 30}, 10, {"a": 2, "b": 8}),
        ({"a": 20, "b": 30, "c": 1}, 11, {"a": 5, "b": 5, "c": 1}),
        ({"a": 1, "b": 1, "c": 1}, 2, {"a": 0, "b": 1, "c": 1}),
    ],
)
def test_small_namespaces_keep_all_and_large_ones_the_same(
    counts: dict[str, int], room: int, expected: dict[str, int]
) -> None:
    assert shares(counts, room) == expected


def test_functions_with_runs_are_counted_by_namespace() -> None:
    index = RunIndex()
    for namespace in ("b", "a"):
        for n in range(2):
            index.put(job(namespace, n))

    found = index.runs().used_functions()

    assert [(one.namespace, one.name, one.runs) for one in found] == [
        ("a", "resize-images", 2),
        ("b", "resize-images", 2),
    ]
    assert found[0].last.request_id == "a-00001"


# --- paths and settings ----------------------------------------------------------------------


def test_old_paths_are_those_of_the_own_namespace() -> None:
    scopes = Scopes("functions", everywhere=True)

    assert scopes.of("functions").run("r") == "/web/runs/r"
    assert scopes.of("functions").own
    assert scopes.of("team-alpha").run("r") == "/web/ns/team-alpha/runs/r"
    assert not scopes.of("team-alpha").own
    assert scopes.of("") is EVERYWHERE
    assert (scopes.home, Scopes("functions", everywhere=False).home) == ("/web/all/", "/web/")


def test_all_namespaces_need_the_clusters_own_authorization() -> None:
    on = {"NANOGRID_WEB_ALL_NAMESPACES": "true"}

    assert WebSettings.from_env(on).all_namespaces
    assert not WebSettings.from_env({}, auth_mode="none").all_namespaces
    for mode in ("tokens", "none"):
        with pytest.raises(SettingsError, match="NANOGRID_AUTH_MODE=kubernetes"):
            WebSettings.from_env(on, auth_mode=mode)
    with pytest.raises(SettingsError, match="not true or false"):
        WebSettings.from_env({"NANOGRID_WEB_ALL_NAMESPACES": "yes"})
