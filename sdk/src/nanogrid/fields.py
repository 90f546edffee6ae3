"""Base model, CEL helper and bounded field types of the ExecutionJob's models.

The CustomResourceDefinition is generated from the models (:mod:`nanogrid.crd`), so each field has a
description and every string, list and map has a bound: the API server refuses CEL rules over
unbounded data. ``cel(...)`` puts rules into a model's or field's JSON schema.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel


def cel(*rules: tuple[str, str]) -> dict[str, JsonValue]:
    """Schema extra with CEL validations, each a (rule, message that says how to mend) pair."""
    return {"x-kubernetes-validations": [{"rule": r, "message": m} for r, m in rules]}


class Model(BaseModel):
    """camelCase in JSON, snake_case in Python; unknown fields are an error."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid"
    )


Bucket = Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*$")]
ObjectKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=cel(
            ("!self.startsWith('/')", "an S3 key does not start with '/': remove it"),
            (
                "!self.split('/').exists(p, p == '..')",
                "an S3 key may not hold a '..' segment: name the object itself",
            ),
        ),
    ),
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
Quantity = Annotated[
    str | int,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
            "maxLength": 32,
        }
    ),
]
VersionId = Annotated[str, Field(min_length=1, max_length=256)]
Glob = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        json_schema_extra=cel(
            (
                "!self.startsWith('/') && !self.split('/').exists(p, p == '..')",
                "a glob is relative to outputs.path and stays below it: **/*.csv, say",
            ),
        ),
    ),
]
Word = Annotated[str, Field(max_length=4096)]
Identifier = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
]

Text = Annotated[str, Field(max_length=32768)]
Millis = Annotated[int, Field(ge=0)]
