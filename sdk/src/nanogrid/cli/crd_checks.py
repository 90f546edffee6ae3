"""Checks of ``doctor`` on the CRDs: present, established, and with all fields of this release."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from nanogrid import names
from nanogrid.cli.finding import INSTALL_HINT, Finding, State

if TYPE_CHECKING:
    from pydantic import BaseModel

    from nanogrid.client import Cluster

CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
JOB_CRD: Final = f"{CRDS}/{names.PLURAL}.{names.GROUP}"
FUNCTION_CRD: Final = f"{CRDS}/{names.FUNCTION_PLURAL}.{names.GROUP}"
POOL_CRD: Final = f"{CRDS}/{names.POOL_PLURAL}.{names.GROUP}"


def job_crd(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """Check that the CRD of jobs exists, is established, and has all fields of this release."""
    from nanogrid.api.job import Spec

    yield _definition(cluster, "CRD", JOB_CRD, Spec, missing="fail")


def function_crd(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """Check the CRD of functions; jobs run without it."""
    from nanogrid.api.function_spec import FunctionSpec

    yield _definition(cluster, "functions", FUNCTION_CRD, FunctionSpec, missing="warn")


def pool_crd(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """Check the CRD of pools; jobs run without it, and start cold."""
    from nanogrid.api.pool import PoolSpec

    yield _definition(cluster, "pools", POOL_CRD, PoolSpec, missing="warn")


def _definition(
    cluster: "Cluster", check: str, path: str, spec: "type[BaseModel]", missing: State
) -> Finding:
    from nanogrid.client import errors

    try:
        definition = cluster.get(path)
    except errors.NotFound:
        return Finding(check, missing, f"{path.rpartition('/')[2]} does not exist", INSTALL_HINT)
    versions = {one["name"]: one for one in definition["spec"]["versions"] if one["served"]}
    if names.VERSION not in versions:
        detail = f"serves {', '.join(versions) or 'no version'}, this CLI needs {names.VERSION}"
        hint = "Install the CLI of the same release as the chart, or upgrade the chart."
        return Finding(check, "fail", detail, hint)
    conditions = definition.get("status", {}).get("conditions", [])
    if not any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
        hint = "Wait a moment, then see the conditions in `kubectl describe crd`."
        return Finding(check, "fail", "is not established", hint)
    schema = versions[names.VERSION]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    fields = {field.alias or name for name, field in spec.model_fields.items()}
    if absent := sorted(fields - set(schema["properties"])):
        detail = f"is older than this CLI; missing fields: spec.{', spec.'.join(absent)}"
        return Finding(check, "warn", detail, "Upgrade the chart and its CRDs.")
    return Finding(check, "ok", f"{names.GROUP}/{names.VERSION}")
