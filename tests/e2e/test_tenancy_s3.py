"""Two namespaces, one bucket: a job reaches nothing of the other namespace, and all of its own."""

import uuid
from collections.abc import Iterator

import pytest

from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.dev_objects import object_sizes, put_object, read_object
from support.kubectl import Namespace, inline, job, kubectl, zip_of

pytestmark = pytest.mark.security

WRITES = "open('output/a.txt', 'w').write('secret of a')"
READS = "import os; print(sorted(os.listdir('data')), open('data/a.txt').read())"


@pytest.fixture
def other(cluster: None) -> Iterator[Namespace]:
    """A second namespace, of the attacker."""
    namespace = Namespace(f"e2e-{uuid.uuid4().hex[:8]}")
    kubectl("create", "namespace", namespace.name)
    yield namespace
    kubectl("delete", "namespace", namespace.name, "--wait=false")


def reading(name: str, **s3: str) -> Json:
    return inline(name, READS, inputs=[{"name": "a", "s3": s3}])


def writing(name: str, **s3: str) -> Json:
    return inline(name, WRITES, outputs={"s3": s3})


def attacks(victim: Namespace, attacker: Namespace, request_id: str) -> list[Json]:
    """Jobs of the attacker's namespace that name what is not its own."""
    results = victim.key(f"results/{request_id}/")
    outputs = victim.key(names.outputs_prefix(request_id))
    encoded = attacker.key(f"%2e%2e/{outputs}")
    return [
        reading("reads-results", prefix=results),
        reading("reads-one-result", key=f"{results}result.json"),
        reading("reads-outputs", prefix=outputs),
        reading("reads-all", prefix=victim.key("")),
        reading("reads-encoded", prefix=encoded),
        reading("reads-compatible", prefix="results/"),
        reading("reads-own-root", prefix=attacker.key("")),
        reading("reads-own-results", prefix=attacker.key("results/")),
        reading("reads-bucket", bucket="another-bucket", prefix="data/"),
        writing("writes-results", prefix=results),
        writing("writes-outputs", prefix=outputs),
        writing("writes-code", prefix=victim.key("functions/report/")),
        writing("writes-own-results", prefix=attacker.key(f"results/{request_id}/")),
        writing("writes-bucket", bucket="another-bucket", prefix="data/"),
        job("runs-code", code={"s3": {"key": victim.key("code/v1.zip")}}),
    ]


def test_a_job_reaches_nothing_of_another_namespace(
    namespace: Namespace, other: Namespace, dev: DevAccess, request_id: str
) -> None:
    victim = namespace
    put_object(dev, victim.key("code/v1.zip"), zip_of(main__py="print('code of a')"))
    done = victim.run(inline("own", WRITES, requestId=request_id))
    assert done["phase"] == "Succeeded", done["message"]
    result_key = victim.key(names.result_object(request_id))
    outputs = victim.key(names.outputs_prefix(request_id))
    before = read_object(dev, result_key), object_sizes(dev, victim.key(""))

    jobs = attacks(victim, other, request_id)
    other.apply(*jobs)
    for manifest in jobs:
        name = manifest["metadata"]["name"]
        status = other.finished(name)
        assert status["reason"] == "InvalidSpec", (name, status["message"])
        assert other.pods(name) == [], name
    # A request with the other namespace's requestId stays in its own namespace.
    other.run(inline("same-id", "print('forged')", requestId=request_id))

    assert (read_object(dev, result_key), object_sizes(dev, victim.key(""))) == before
    own = other.key(names.result_object(request_id))
    assert b"forged" in read_object(dev, own), "a positive control: it has a result of its own"
    assert read_object(dev, f"{outputs}a.txt") == b"secret of a"


def test_a_job_reaches_all_that_is_its_own(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    """The positive control of all denials above."""
    code = put_object(dev, namespace.key("code/v1.zip"), zip_of(main__py=READS))
    written = namespace.run(inline("writes", WRITES, requestId=request_id))
    mine = namespace.key("mine/")
    namespace.apply(
        writing("writes-mine", prefix=mine),
        job(
            "reads",
            code={"s3": {"key": code}},
            inputs=[{"name": "a", "s3": {"prefix": namespace.key(f"outputs/{request_id}/")}}],
        ),
    )
    wrote, read = namespace.finished("writes-mine"), namespace.finished("reads")

    assert written["phase"] == "Succeeded", written["message"]
    assert wrote["phase"] == "Succeeded", wrote["message"]
    assert object_sizes(dev, mine) == {"a.txt": len(b"secret of a")}
    assert read["result"]["stdout"] == "['a.txt'] secret of a\n", read["message"]
