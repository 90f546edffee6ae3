"""Uploads and deletions of one function at the same time.

A function that exists has the code of all its versions. What no function names is deleted by the
upload that stored it, or by the next deletion of the function.
"""

import asyncio
import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest

from nanogrid.api.function_spec import MAX_VERSIONS
from nanogrid.kube.conventions import KubeError
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.functions import functions, upload
from nanogrid_gateway.api.functions.functions import UPLOAD_SECONDS, own_keys
from nanogrid_gateway.api.requests import UploadForm
from support.function_store import NOW, PREFIX, FunctionStore

SEEDS = range(400)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (functions, upload):
        monkeypatch.setattr(module, "pause", lambda attempt: 0)


async def put(store: FunctionStore, text: str = "", verbs: Any = (), **form: str) -> Json:
    """Upload a Python file as the function hello; records the verbs that it needs."""
    needed = verbs if isinstance(verbs, list) else []

    async def permit(verb: str) -> None:
        needed.append(verb)

    fields = UploadForm.model_validate(form or {"name": "hello"})
    code = io.BytesIO(f"print({text!r})".encode())
    return await store.uploads().upload(code, "main.py", fields, permit)


async def outcome(work: Any) -> Json | ApiError:
    try:
        found: Json = await work
        return found
    except ApiError as e:
        return e


def named(store: FunctionStore) -> set[str]:
    return {key.removeprefix(PREFIX) for key in store.keys("hello")}


def stored(store: FunctionStore) -> set[str]:
    return {key.removeprefix(PREFIX) for key in store.objects}


def once(operation: str, action: Callable[[], None]) -> Callable[[str], None]:
    """Runs the action before the first operation of this name."""
    left = [action]

    def before(name: str) -> None:
        if name == operation and left:
            left.pop()()

    return before


def check_code(store: FunctionStore) -> None:
    """Every version of a function that exists has its code."""
    for body in store.bodies.values():
        for version in body["spec"]["versions"]:
            content = store.objects.get(version["s3"]["key"])
            assert content is not None, f"{version['s3']['key']} is missing"
            assert hashlib.sha256(content).hexdigest() == version["s3"]["sha256"]


async def test_first_uploads_at_the_same_time_leave_no_code_that_no_function_names() -> None:
    creators = set()
    for seed in SEEDS:
        store = FunctionStore(seed)
        answers = await asyncio.gather(put(store, "a"), put(store, "b"))

        first, second = sorted(answer["version"] for answer in answers)
        assert first < second, seed
        assert named(store) == stored(store) == {f"v{first}.zip", f"v{second}.zip"}, seed
        check_code(store)
        creators.add(answers[0]["version"] == first)
    assert creators == {True, False}, "each of them came first"


@pytest.mark.parametrize("lost", [0.0, 0.2])
async def test_uploads_at_the_same_time_are_versions_once_each(lost: float) -> None:
    for seed in SEEDS:
        store = FunctionStore(seed, lost)
        works = [outcome(put(store, str(n))) for n in range(4)]
        answers = await asyncio.gather(*works)

        accepted = [a["version"] for a in answers if isinstance(a, dict)]
        refused = [a for a in answers if isinstance(a, ApiError)]
        versions = [v["version"] for v in store.bodies["hello"]["spec"]["versions"]]
        assert len(set(versions)) == len(versions), seed
        assert set(accepted) <= set(versions), seed
        assert len(set(accepted)) == len(accepted), seed
        assert {a.reason for a in refused} <= {Reason.FUNCTION_IN_USE}, seed
        check_code(store)
        if not lost:
            assert sorted(accepted) == sorted(versions), seed
            assert named(store) == stored(store), seed


@pytest.mark.parametrize("lost", [0.0, 0.1])
async def test_deletions_at_the_same_time_take_no_code_of_a_function_that_exists(
    lost: float,
) -> None:
    ends = set()
    for seed in SEEDS:
        store = FunctionStore(seed)
        await put(store, "before")
        store.lost = lost
        works = [store.deletions().delete("hello") for _ in range(3)]
        works += [put(store, str(number)) for number in range(3)]
        await asyncio.gather(*map(outcome, works))

        ends.add("hello" in store.bodies)
        check_code(store)
        if not lost:
            assert named(store) == stored(store), seed
    assert ends == {True, False}, "both orders happened"


async def test_a_lost_answer_to_the_creation_is_no_second_version() -> None:
    store = FunctionStore(lost=1.0)

    answer = await put(store)

    assert answer["version"] == 1
    assert named(store) == stored(store) == {"v1.zip"}
    assert (await put(store, "next"))["version"] == 2
    assert named(store) == stored(store) == {"v1.zip", "v2.zip"}


async def test_the_pool_of_an_upload_is_that_of_the_function_until_another_is_given() -> None:
    store = FunctionStore()

    def pool() -> Json | None:
        found: Json | None = store.bodies["hello"]["spec"].get("poolRef")
        return found

    for text, form, expected in (
        ("1", {}, None),
        ("2", {"pool": "fast"}, {"name": "fast"}),
        ("3", {}, {"name": "fast"}),
        ("4", {"pool": "slow"}, {"name": "slow"}),
    ):
        await put(store, text, name="hello", **form)
        assert pool() == expected


async def test_the_last_place_for_a_version_is_given_once() -> None:
    for seed in range(100):
        store = FunctionStore(seed)
        await put(store)
        versions = store.bodies["hello"]["spec"]["versions"]
        for number in range(2, MAX_VERSIONS):
            key = f"{PREFIX}v{number}.zip"
            s3 = versions[0]["s3"] | {"key": key}
            versions.append(versions[0] | {"version": number, "s3": s3})
            store.objects[key] = store.objects[versions[0]["s3"]["key"]]

        answers = await asyncio.gather(*(outcome(put(store, str(n))) for n in range(3)))

        accepted = [a["version"] for a in answers if isinstance(a, dict)]
        refused = [a.reason for a in answers if isinstance(a, ApiError)]
        assert (len(accepted), refused) == (1, [Reason.VERSION_LIMIT] * 2)
        assert named(store) == stored(store)
        assert len(named(store)) == MAX_VERSIONS


@pytest.mark.parametrize(("code", "status"), [(422, 422), (400, 422), (403, 503), (429, 503)])
@pytest.mark.parametrize("existing", [False, True])
async def test_code_of_a_refused_change_does_not_stay(
    code: int, status: int, existing: bool
) -> None:
    store = FunctionStore()
    if existing:
        await put(store)
    store.refusal = KubeError(code, "Refused", "by a policy")

    answer = await outcome(put(store))

    assert isinstance(answer, ApiError)
    assert answer.status == status
    assert named(store) == stored(store) == ({"v1.zip"} if existing else set())


async def test_code_stays_when_a_failed_change_may_have_happened() -> None:
    store = FunctionStore()
    store.refusal = KubeError(500, "InternalError", "etcd")

    answer = await outcome(put(store))

    assert isinstance(answer, ApiError)
    assert answer.status == 503
    assert stored(store) == {"v1.zip"}
    assert (await put(store))["version"] == 2, "no key is used twice"


@pytest.mark.parametrize("form", [{"name": "hello"}, {"functionId": "hello"}])
async def test_a_function_that_is_being_deleted_gets_no_version(form: dict[str, str]) -> None:
    store = FunctionStore()
    await put(store)
    store.bodies["hello"]["metadata"]["deletionTimestamp"] = "2025-10-09T08:54:00Z"

    answer = await outcome(put(store, **form))

    assert isinstance(answer, ApiError)
    assert (answer.status, answer.reason) == (409, Reason.FUNCTION_IN_USE)
    assert "is being deleted. Wait" in str(answer)
    assert named(store) == stored(store) == {"v1.zip"}
    shown = await outcome(store.deletions().show("hello"))
    assert isinstance(shown, ApiError)
    assert shown.status == 404


async def test_a_function_that_goes_during_an_upload_is_created_again_by_name_only() -> None:
    store = FunctionStore()
    await put(store)
    store.before = once("patch", store.bodies.clear)
    answer = await outcome(put(store, "new", functionId="hello"))
    assert isinstance(answer, ApiError)
    assert (answer.status, answer.reason) == (404, Reason.FUNCTION_NOT_FOUND)
    assert stored(store) == {"v1.zip"}, "only the code of the version that was there"

    await outcome(put(store, "again"))
    store.before = once("patch", store.bodies.clear)
    created = await put(store, "new")
    assert named(store) == {created["s3Key"].removeprefix(PREFIX)}
    check_code(store)


@pytest.mark.parametrize(
    ("form", "existing", "verbs"),
    [
        ({"name": "hello"}, False, ["create"]),
        ({"runtime": "python"}, False, ["create"]),
        ({"name": "hello"}, True, ["patch"]),
        ({"functionId": "hello"}, True, ["patch"]),
        ({"functionId": "hello"}, False, ["patch"]),  # before the answer that there is none
    ],
)
async def test_an_upload_needs_the_verb_of_its_change(
    form: dict[str, str], existing: bool, verbs: list[str]
) -> None:
    store = FunctionStore()
    if existing:
        await put(store)
    needed: list[str] = []

    await outcome(put(store, "x", needed, **form))

    assert needed == verbs


async def test_who_loses_the_creation_needs_the_verb_to_extend() -> None:
    store, needed = FunctionStore(), list[str]()

    store.before = once("create", lambda: store.bodies.update(hello=a_function()))
    await put(store, "x", needed)

    assert needed == ["create", "patch"]


def a_function() -> Json:
    s3 = {"key": f"{PREFIX}other.zip", "sha256": "0" * 64}
    version = {"version": 1, "s3": s3, "createdAt": "2025-10-09T08:54:00Z"}
    return {
        "metadata": {"name": "hello", "uid": "other", "resourceVersion": "0"},
        "spec": {"versions": [version]},
    }


async def test_a_deletion_takes_the_code_of_a_version_that_came_meanwhile() -> None:
    store = FunctionStore()
    await put(store)

    def upload_meanwhile() -> None:
        body = store.bodies["hello"]
        version = body["spec"]["versions"][0]
        key = f"{PREFIX}v2.zip"
        body["spec"]["versions"].append(
            version | {"version": 2, "s3": version["s3"] | {"key": key}}
        )
        store.objects[key] = b"new"
        store.touch("hello")

    store.before = once("delete", upload_meanwhile)

    answer = await store.deletions().delete("hello")

    assert answer == {"functionId": "hello", "deletedObjects": 2}
    assert not store.objects


async def test_the_code_of_a_new_function_of_the_same_name_stays() -> None:
    store = FunctionStore()
    await put(store)
    store.objects["root/functions/hello2/v1.zip"] = b"other"
    new = f"{PREFIX}v2.zip"
    store.before = once("delete objects", lambda: store.objects.update({new: b"new"}))

    answer = await store.deletions().delete("hello")

    assert answer == {"functionId": "hello", "deletedObjects": 1}
    assert set(store.objects) == {new, "root/functions/hello2/v1.zip"}


async def test_a_deletion_is_tried_again_when_only_the_status_changes() -> None:
    store = FunctionStore()
    await put(store)
    store.before = once("delete", lambda: store.touch("hello"))

    assert (await store.deletions().delete("hello"))["deletedObjects"] == 1
    assert not store.bodies

    await put(store)
    store.before = lambda operation: store.touch("hello") if operation == "delete" else None
    answer = await outcome(store.deletions().delete("hello"))
    assert isinstance(answer, ApiError)
    assert (answer.status, answer.reason, answer.retry_after) == (409, Reason.FUNCTION_IN_USE, 1)
    assert named(store) == stored(store) == {"v1.zip"}


async def test_who_comes_second_deletes_no_code() -> None:
    """The first deletion has deleted the code; a new function may have the same keys by now."""
    store = FunctionStore()
    await put(store)
    store.before = once("delete", store.bodies.clear)

    answer = await outcome(store.deletions().delete("hello"))

    assert isinstance(answer, ApiError)
    assert (answer.status, answer.reason) == (404, Reason.FUNCTION_NOT_FOUND)
    assert stored(store) == {"v1.zip"}


async def test_a_run_that_starts_during_a_deletion_keeps_its_code() -> None:
    store = FunctionStore()
    await put(store)
    spec = {"functionRef": {"name": "hello"}}
    job: Json = {"metadata": {"name": "j", "uid": "j"}, "spec": spec}
    store.before = once("delete", lambda: store.jobs.append(job))

    assert (await store.deletions().delete("hello"))["deletedObjects"] == 0
    assert stored(store) == {"v1.zip"}

    # A function of the same name has a key of its own, and its deletion takes both.
    assert (await put(store))["s3Key"] == f"{PREFIX}v2.zip"
    refused = await outcome(store.deletions().delete("hello"))
    assert isinstance(refused, ApiError)
    assert refused.found == {"active": ["j"]}
    store.jobs.clear()
    store.written[f"{PREFIX}v1.zip"] = NOW - UPLOAD_SECONDS - 1
    assert (await store.deletions().delete("hello"))["deletedObjects"] == 2


def test_what_goes_with_a_function() -> None:
    mine, input_ = f"{PREFIX}other.zip", f"{PREFIX}inputs/r-1/0/input.json"
    left, uploading = f"{PREFIX}v2.zip", f"{PREFIX}v3.zip"
    old = NOW - UPLOAD_SECONDS - 1
    written = {mine: NOW, input_: NOW, left: old, uploading: NOW - UPLOAD_SECONDS}

    assert own_keys(a_function(), PREFIX, written, NOW) == [mine, input_, left]
