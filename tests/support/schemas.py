"""The generated files, and nodes and bounds of a CustomResourceDefinition's schema."""

import functools
from collections.abc import Iterator

from nanogrid.codegen.crd import generated_files
from nanogrid.types import Json

generated_once = functools.cache(generated_files)


def nodes(node: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every schema below a schema, with its path."""
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from nodes(node["additionalProperties"], f"{path}{{}}")


def is_bounded(node: Json) -> bool:
    """Whether the size of a string, list or map has a limit."""
    match node.get("type"):
        case "string":
            return "maxLength" in node or "enum" in node
        case "array":
            return "maxItems" in node
        case "object":
            return "additionalProperties" not in node or "maxProperties" in node
        case None:
            return "maxLength" in node
    return True
