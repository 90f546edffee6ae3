"""RuntimeClasses for gVisor and Kata: the examples, and the pods that use them."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from nanogrid.quantity import quantity
from nanogrid.types import Json
from nanogrid_operator.settings import Settings
from support.builders import some_settings
from support.pod_manifests import ZIP_JOB, built
from support.pod_security import violations

pytestmark = pytest.mark.security

EXAMPLES = Path("examples/runtimeclasses")
CLASSES = ["gvisor", "kata"]
SCHEMA = Path("helm/nanogrid-operator/values.schema.json")
DOCUMENT = Path("docs/runtimes.md")
classes = pytest.mark.parametrize("name", CLASSES)


def example(name: str) -> Json:
    found: Json = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def chosen(name: str) -> Settings:
    """The operator's settings with the values of an example."""
    sandbox = example(f"values-{name}")["sandbox"]
    return some_settings(runtime_class=sandbox["runtimeClassName"], host_users=sandbox["hostUsers"])


def test_every_example_is_checked() -> None:
    files = {f"{prefix}{name}.yaml" for name in CLASSES for prefix in ("", "values-")}

    assert {path.name for path in EXAMPLES.iterdir()} == files


@classes
def test_a_class_has_a_handler_overhead_and_nodes(name: str) -> None:
    found = example(name)

    assert (found["apiVersion"], found["kind"]) == ("node.k8s.io/v1", "RuntimeClass")
    assert found["metadata"]["name"] == name
    assert found["handler"]
    assert all(quantity(value) > 0 for value in found["overhead"]["podFixed"].values())
    assert set(found["overhead"]["podFixed"]) == {"cpu", "memory"}
    assert found["scheduling"]["nodeSelector"]


@classes
def test_the_chart_accepts_the_values(name: str) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))

    jsonschema.validate(example(f"values-{name}"), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"sandbox": {"runtimeClass": name}}, schema)


@classes
@pytest.mark.parametrize(
    "spec", [{}, ZIP_JOB, {"mode": "Session", "code": None}], ids=["inline", "zip", "session"]
)
def test_a_pod_has_the_class_and_no_user_namespace(name: str, spec: Json) -> None:
    pod = built(chosen(name), **spec)

    assert pod["spec"]["runtimeClassName"] == name
    assert "hostUsers" not in pod["spec"], "the kubelet would refuse it"
    assert "overhead" not in pod["spec"], "the admission of the class sets it"
    assert violations(pod) == []


def test_a_pod_without_a_class_has_the_nodes_runtime() -> None:
    assert "runtimeClassName" not in built()["spec"]


def test_a_job_with_a_class_of_its_own_keeps_the_nodes_users() -> None:
    pod = built(some_settings(host_users=False), runtime={"runtimeClassName": "kata"})

    assert pod["spec"]["runtimeClassName"] == "kata"
    assert "hostUsers" not in pod["spec"]
    assert built(some_settings(host_users=False))["spec"]["hostUsers"] is False


def test_the_document_says_what_differs() -> None:
    text = DOCUMENT.read_text(encoding="utf-8").partition("## gVisor and Kata\n")[2]
    section = text.partition("\n## ")[0]

    for word in ("gvisor.yaml", "hostUsers", "/sys/firmware", "overhead"):
        assert word in section
    for found in (example(name) for name in CLASSES):
        cost = found["overhead"]["podFixed"]
        assert f"{cost['cpu']}, {cost['memory']}" in section
