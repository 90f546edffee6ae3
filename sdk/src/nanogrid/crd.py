"""The CustomResourceDefinition of ExecutionJob, generated from :mod:`nanogrid.job`.

pydantic speaks JSON Schema; the API server wants a *structural* schema
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
#specifying-a-structural-schema): no $ref, no ``anyOf`` with null, no ``additionalProperties:
false`` beside properties, no titles, one type per node. :func:`structural` is that translation.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from nanogrid import names
from nanogrid.fielddocs import fields_markdown
from nanogrid.job import Spec
from nanogrid.reasons import reasons_markdown
from nanogrid.status import Status

PRINTER_COLUMNS: list[dict[str, Any]] = [
    {"name": "PHASE", "type": "string", "jsonPath": ".status.phase"},
    {"name": "REASON", "type": "string", "jsonPath": ".status.reason"},
    {"name": "EXIT", "type": "integer", "jsonPath": ".status.result.exitCode"},
    {"name": "DURATION", "type": "string", "jsonPath": ".status.duration"},
    {"name": "PEAK", "type": "string", "jsonPath": ".status.peakMemory"},
    {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "POD", "type": "string", "jsonPath": ".status.podName", "priority": 1},
    {"name": "FILES", "type": "integer", "jsonPath": ".status.inputs.files", "priority": 1},
    {"name": "REQUEST", "type": "string", "jsonPath": ".status.requestId", "priority": 1},
]


def structural(node: Any, defs: dict[str, Any]) -> Any:
    """Translate one JSON Schema node as pydantic writes it into a structural one."""
    if not isinstance(node, dict):
        return node
    node = dict(node)
    if "$ref" in node:
        target = defs[node.pop("$ref").rsplit("/", 1)[-1]]
        return structural({**target, **node}, defs)
    node = _without_null(node)
    if "$ref" in node:
        return structural(node, defs)
    for key in ("title", "const", "propertyNames"):
        node.pop(key, None)
    if node.get("default", 0) is None:
        del node["default"]
    if node.get("x-kubernetes-int-or-string"):
        node.pop("anyOf", None)
        node.pop("type", None)
    if isinstance(node.get("additionalProperties"), bool):
        del node["additionalProperties"]
    for key in ("additionalProperties", "items"):
        if key in node:
            node[key] = structural(node[key], defs)
    inner = {k: structural(v, defs) for k, v in node.get("properties", {}).items()}
    return {**node, "properties": inner} if inner else node


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    """``X | None`` becomes X: an absent field is how Kubernetes says null."""
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
    """The whole CustomResourceDefinition."""
    spec = schema_of(Spec)
    status = schema_of(Status)
    schema = {
        "type": "object",
        "description": "A job: code and inputs that run once, in one sandbox pod, and give one "
        "result on its status, in S3 and in Redis.",
        "required": ["spec"],
        "x-kubernetes-validations": [
            {
                "rule": "size(self.metadata.name) <= 52",
                "message": "the name has more than 52 characters: the pod's name needs room "
                "for a suffix",
            }
        ],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{names.API_VERSION}."},
            "kind": {"type": "string", "description": f"{names.KIND}."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": [names.SHORT_NAME],
                "categories": [names.CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": PRINTER_COLUMNS,
                    "selectableFields": [{"jsonPath": ".status.phase"}, {"jsonPath": ".spec.mode"}],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


HEADER = "# Generated by `make manifests` from sdk/src/nanogrid/job.py; do not edit.\n"


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return text


def generated_files() -> dict[str, str]:
    """Each generated file's path, relative to the repository, and its text."""
    plain = _yaml(crd())
    # Helm needs the same CRD as a template, so that `helm upgrade` upgrades it too.
    kept = crd()
    kept["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    chart = "{{- if .Values.crds.install }}\n" + HEADER + _yaml(kept) + "{{- end }}\n"
    return {
        f"crds/{names.PLURAL}.yaml": HEADER + plain,
        f"helm/nanogrid-operator/templates/crds/{names.PLURAL}.yaml": chart,
        "docs/executionjob.md": fields_markdown(crd()),
        "docs/reasons.md": reasons_markdown(),
    }


def main() -> None:
    """Write the generated files below the given root that are out of date."""
    parser = argparse.ArgumentParser(description="Write the CRD and docs made from the models.")
    parser.add_argument("root", type=Path, nargs="?", default=Path(), help="repository root")
    parser.add_argument("--check", action="store_true", help="only say what is out of date")
    options = parser.parse_args()
    for name, text in generated_files().items():
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
