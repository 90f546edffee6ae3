"""The CustomResourceDefinitions, generated from the models of :mod:`nanogrid.api`.

pydantic writes JSON Schema. The API server requires a *structural* schema
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
#specifying-a-structural-schema): no $ref, no ``anyOf`` with null, no ``additionalProperties:
false`` together with properties, no titles, one type per node. :func:`structural` converts one into
the other.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from nanogrid import controller_class, names
from nanogrid.api.function import FunctionStatus
from nanogrid.api.function_spec import FunctionSpec
from nanogrid.api.job import Spec
from nanogrid.api.pool import PoolSpec, PoolStatus
from nanogrid.api.status import Status
from nanogrid.api.tenant import TenantSpec
from nanogrid.codegen.chart_checks import chart_checks, chart_reasons, chart_sections
from nanogrid.codegen.chart_values import values_markdown
from nanogrid.codegen.columns import FUNCTION_COLUMNS, JOB_COLUMNS, POOL_COLUMNS, TENANT_COLUMNS
from nanogrid.codegen.dashboards.boards import DASHBOARDS
from nanogrid.codegen.dashboards.grafana import dashboard_json
from nanogrid.codegen.field_docs import fields_markdown
from nanogrid.codegen.metrics_docs import metrics_markdown
from nanogrid.metrics.registry import all_declared
from nanogrid.reasons import reasons_markdown


def structural(node: Any, defs: dict[str, Any]) -> Any:
    """Convert a JSON Schema node of pydantic into a structural schema."""
    if not isinstance(node, dict):
        return node
    node = dict(node)
    if "$ref" in node:
        target = defs[node.pop("$ref").rsplit("/", 1)[-1]]
        return structural({**target, **node}, defs)
    node = _without_null(node)
    if "$ref" in node:
        return structural(node, defs)
    _drop_forbidden(node)
    for key in ("additionalProperties", "items"):
        if key in node:
            node[key] = structural(node[key], defs)
    inner = {k: structural(v, defs) for k, v in node.get("properties", {}).items()}
    return {**node, "properties": inner} if inner else node


def _drop_forbidden(node: dict[str, Any]) -> None:
    """Remove, or express in another way, what a structural schema may not have."""
    for key in ("title", "const", "propertyNames"):
        node.pop(key, None)
    if node.get("default", 0) is None:
        del node["default"]
    if node.get("x-kubernetes-int-or-string"):
        node.pop("anyOf", None)
        node.pop("type", None)
    if isinstance(node.get("additionalProperties"), bool):
        del node["additionalProperties"]
    if "patternProperties" in node:  # of a map whose keys have a pattern
        (node["additionalProperties"],) = node.pop("patternProperties").values()


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    """``X | None`` becomes X, because Kubernetes expresses null as an absent field."""
    branches = [b for b in node.get("anyOf", []) if b.get("type") != "null"]
    if len(branches) != 1:
        if "const" in node:
            node["enum"] = [node["const"]]
        return node
    return {**branches[0], **{k: v for k, v in node.items() if k != "anyOf"}}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The structural schema of one model."""
    _, top = models_json_schema([(model, "validation")], by_alias=True)
    defs = top["$defs"]
    schema: dict[str, Any] = structural(defs[model.__name__], defs)
    return schema


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition of ExecutionJob."""
    return _definition(
        kind=names.KIND,
        plural=names.PLURAL,
        singular=names.SINGULAR,
        short_name=names.SHORT_NAME,
        description="A job: code with inputs that runs once in a sandbox pod and produces one "
        "result, in its status, in S3 and in Redis.",
        spec=Spec,
        status=Status,
        columns=JOB_COLUMNS,
        selectable=[".status.phase", ".spec.mode", f".spec.{controller_class.FIELD}"],
        name_rule={
            "rule": f"size(self.metadata.name) <= {names.JOB_NAME_MAX}",
            "message": f"the name has more than {names.JOB_NAME_MAX} characters: use a shorter "
            "name, because the "
            "pod's name adds a suffix",
        },
    )


def function_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of Function."""
    return _definition(
        kind=names.FUNCTION_KIND,
        plural=names.FUNCTION_PLURAL,
        singular=names.FUNCTION_SINGULAR,
        short_name=names.FUNCTION_SHORT_NAME,
        description="A function: uploaded code in all its versions. It can run many times. Each "
        "run is a job with its own input.",
        spec=FunctionSpec,
        status=FunctionStatus,
        columns=FUNCTION_COLUMNS,
        selectable=[],
        name_rule={
            "rule": "size(self.metadata.name) <= 63 && "
            "self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            "message": "the name is also a label value: use at most 63 lower case letters, digits "
            "and '-'",
        },
    )


def pool_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of ExecutionPool."""
    return _definition(
        kind=names.POOL_KIND,
        plural=names.POOL_PLURAL,
        singular=names.POOL_SINGULAR,
        short_name=names.POOL_SHORT_NAME,
        description="A pool: pods that wait for jobs, so that a job starts at once. Each pod runs "
        "one job. See docs/pools.md.",
        spec=PoolSpec,
        status=PoolStatus,
        columns=POOL_COLUMNS,
        selectable=[],
        name_rule={
            "rule": f"size(self.metadata.name) <= {names.POOL_NAME_MAX} && "
            "self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            "message": "the name is also a label value and begins the names of pods: use at most "
            f"{names.POOL_NAME_MAX} lower case letters, digits and '-'",
        },
    )


def tenant_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of NanoGridTenant."""
    return _definition(
        kind=names.TENANT_KIND,
        plural=names.TENANT_PLURAL,
        singular=names.TENANT_SINGULAR,
        short_name=names.TENANT_SHORT_NAME,
        description="What the platform team allows one namespace, in the release's namespace. Its "
        "name is the namespace that it is about.",
        spec=TenantSpec,
        status=None,
        columns=TENANT_COLUMNS,
        selectable=[],
        name_rule={
            "rule": "size(self.metadata.name) <= 63 && "
            "self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            "message": "the name is that of the namespace that the object is about: use at most "
            "63 lower case letters, digits and '-'",
        },
    )


def _definition(
    *,
    kind: str,
    plural: str,
    singular: str,
    short_name: str,
    description: str,
    spec: type[BaseModel],
    status: type[BaseModel] | None,
    columns: list[dict[str, Any]],
    selectable: list[str],
    name_rule: dict[str, str],
) -> dict[str, Any]:
    """A CustomResourceDefinition with one version, a spec and, if there is one, a status."""
    schema: dict[str, Any] = {
        "type": "object",
        "description": description,
        "required": ["spec"],
        "x-kubernetes-validations": [name_rule],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{names.API_VERSION}."},
            "kind": {"type": "string", "description": f"{kind}."},
            "metadata": {"type": "object"},
            "spec": schema_of(spec),
        },
    }
    version: dict[str, Any] = {"name": names.VERSION, "served": True, "storage": True}
    if status is not None:
        schema["properties"]["status"] = schema_of(status)
        version["subresources"] = {"status": {}}
    version["additionalPrinterColumns"] = columns
    if selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in selectable]
    version["schema"] = {"openAPIV3Schema": schema}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": singular,
                "shortNames": [short_name],
                "categories": [names.CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


HEADER = "# Generated by `make manifests` from sdk/src/nanogrid/api/{}.py; do not edit.\n"


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return text


CHART: Final = "helm/nanogrid-operator"


def generated_files(root: Path = Path()) -> dict[str, str]:
    """Path (relative to the root of the repository) and text of each generated file."""
    files = {}
    sources = {
        "job": (names.PLURAL, crd),
        "function": (names.FUNCTION_PLURAL, function_crd),
        "pool": (names.POOL_PLURAL, pool_crd),
        "tenant": (names.TENANT_PLURAL, tenant_crd),
    }
    for module, (plural, make) in sources.items():
        header = HEADER.format(module)
        # The chart has the CRD as a template, so that `helm upgrade` upgrades it.
        kept = make()
        kept["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
        wanted = "{{- if and .Values.crds.install .Values.rbac.clusterWide }}\n"
        chart = wanted + header + _yaml(kept) + "{{- end }}\n"
        files[f"crds/{plural}.yaml"] = header + _yaml(make())
        files[f"{CHART}/templates/crds/{plural}.yaml"] = chart
    for one in DASHBOARDS:
        files[f"{CHART}/files/monitoring/dashboards/{one.name}.json"] = dashboard_json(one)
    values = (root / CHART / "values.yaml").read_text(encoding="utf-8")
    schema = json.loads((root / CHART / "values.schema.json").read_text(encoding="utf-8"))
    return files | {
        f"{CHART}/templates/_quantities.tpl": chart_checks(),
        f"{CHART}/templates/_reasons.tpl": chart_reasons(),
        f"{CHART}/templates/_sections.tpl": chart_sections(yaml.safe_load(values), schema),
        "docs/values.md": values_markdown(values, schema),
        "docs/executionjob.md": fields_markdown(crd()),
        "docs/function.md": fields_markdown(function_crd(), "versions"),
        "docs/executionpool.md": fields_markdown(pool_crd(), "runtime"),
        "docs/tenant.md": fields_markdown(tenant_crd(), "allow"),
        "docs/metrics.md": metrics_markdown(all_declared()),
        "docs/reasons.md": reasons_markdown(),
    }


def main() -> None:
    """Write the generated files that are out of date, below the given root."""
    parser = argparse.ArgumentParser(
        description="Write the CRDs and documents that are generated from the models."
    )
    parser.add_argument("root", type=Path, nargs="?", default=Path(), help="repository root")
    parser.add_argument(
        "--check", action="store_true", help="only report files that are out of date"
    )
    options = parser.parse_args()
    for name, text in generated_files(options.root).items():
        path = options.root / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if options.check:
            sys.exit(f"{name} is out of date: run `make manifests` and commit it")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
