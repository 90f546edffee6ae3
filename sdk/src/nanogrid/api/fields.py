"""Base model, CEL helper and bounded field types of the models.

The CustomResourceDefinition is generated from the models (:mod:`nanogrid.codegen.crd`), so each
field has a description. Every string, list and map has a bound, because the API server refuses CEL
rules over unbounded data.
"""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationInfo
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from nanogrid import controller_class, globs, names
from nanogrid.sandbox_limits import (
    CPU,
    DISK,
    LEAST_MEMORY_MIB,
    LIMITS,
    MEMORY,
    REQUESTS,
    Bounds,
    cel_rules,
    problem,
)
from nanogrid.sizes import MIB


def cel(*rules: tuple[str, str]) -> dict[str, JsonValue]:
    """JSON schema extra with CEL rules; each is a pair of the rule and a message with the fix."""
    return {"x-kubernetes-validations": [{"rule": r, "message": m} for r, m in rules]}


def list_map(key: str, most: int, *, least: int | None = None, **extra: JsonValue) -> Any:
    """A list that server-side apply merges by a key of its items.

    Args:
        key: field that identifies an item.
        most: maximum number of items.
        least: minimum number of items.
        **extra: further JSON schema extra, such as ``cel(...)``.
    """
    merge: dict[str, JsonValue] = {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": [key],
    }
    return Field(min_length=least, max_length=most, json_schema_extra=merge | extra)


class Model(BaseModel):
    """Base model: camelCase in JSON, snake_case in Python; unknown fields are an error."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid"
    )


def _expandable(glob: str) -> str:
    globs.expand(glob)
    return glob


class Resource(Model):
    """Base model of a custom resource of the API group."""

    api_version: str = Field(names.API_VERSION, alias="apiVersion")
    kind: str
    metadata: dict[str, Any]


Bucket = Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*$")]
ObjectKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=cel(
            ("!self.startsWith('/')", "an S3 key does not start with '/': remove the '/'"),
            (
                "!self.split('/').exists(p, p == '..')",
                "an S3 key must not contain a '..' segment: use the full key of the object",
            ),
        ),
    ),
]
NO_ROOT = "a prefix names a folder, for example data/: the root itself cannot be used"


def _below_root(prefix: str) -> str:
    if not prefix.strip("/"):
        raise ValueError(NO_ROOT)
    return prefix


# Without minLength: its message does not say that a folder is missing.
Prefix = Annotated[
    str,
    Field(
        max_length=1024,
        json_schema_extra=cel(
            ("self.matches('[^/]')", NO_ROOT),
            (
                "!self.startsWith('/') || !self.matches('[^/]')",
                "an S3 prefix does not start with '/': remove the '/'",
            ),
            (
                "!self.split('/').exists(p, p == '..')",
                "an S3 prefix must not contain a '..' segment: use the full prefix",
            ),
        ),
    ),
    AfterValidator(_below_root),
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]


def _quantity(suffixes: str, **more: JsonValue) -> Any:
    """The schema of a quantity of Kubernetes, with these suffixes of one letter."""
    number = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)"
    schema: dict[str, JsonValue] = {
        "x-kubernetes-int-or-string": True,
        "pattern": rf"^{number}([{suffixes}]|[KMGTPE]i|[eE][+-]?[0-9]{{1,2}})?$",
        "maxLength": 32,
    }
    return Field(json_schema_extra=schema | more)


def _bounded(bounds: Bounds) -> Any:
    """A quantity whose bounds the API server checks.

    The pattern takes every suffix, because the messages of the rules are better than its own.
    """
    return _quantity("munkMGTPE", **cel(*cel_rules(bounds)))


# Context of a validation: the job has its pod, so an earlier version has accepted its amounts.
STARTED: Final = {"started": True}


def _within(bounds: Bounds) -> AfterValidator:
    """The check of the same bounds where the model reads the quantity, unless it is ``STARTED``."""

    def check(amount: str | int, info: ValidationInfo) -> str | int:
        if info.context != STARTED and (wrong := problem(amount, bounds)):
            raise PydanticCustomError("quantity", "{problem}", {"problem": wrong})
        return amount

    return AfterValidator(check)


CpuLimit = Annotated[str | int, _bounded(LIMITS[CPU]), _within(LIMITS[CPU])]
MemoryLimit = Annotated[str | int, _bounded(LIMITS[MEMORY]), _within(LIMITS[MEMORY])]
CpuRequest = Annotated[str | int, _bounded(REQUESTS[CPU]), _within(REQUESTS[CPU])]
MemoryRequest = Annotated[str | int, _bounded(REQUESTS[MEMORY]), _within(REQUESTS[MEMORY])]
DiskSize = Annotated[str | int, _bounded(LIMITS[DISK]), _within(LIMITS[DISK])]
# In a list: up to Kubernetes 1.33 CEL rules would exceed the API server's budget, because it took
# a quantity for as long as a request. The operator checks the bounds of a text.
ListedMemoryLimit = Annotated[
    str | int,
    _quantity("kMGTPE", minimum=LEAST_MEMORY_MIB * MIB),
    _within(LIMITS[MEMORY]),
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
                "a glob is relative to outputs.path and stays below it, for example **/*.csv",
            ),
        ),
    ),
    AfterValidator(_expandable),
]
NO_NUL = r"^[^\x00]*$"  # no program can get an argument or a variable with this character
Argument = Annotated[str, Field(max_length=4096, pattern=NO_NUL)]
Identifier = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
]
ControllerClass = Annotated[
    str,
    Field(
        min_length=1,
        max_length=controller_class.MAX_CHARACTERS,
        pattern=controller_class.PATTERN,
    ),
]
PoolName = Annotated[
    str,
    Field(min_length=1, max_length=names.POOL_NAME_MAX, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"),
]

Time = Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]
Text = Annotated[str, Field(max_length=32768)]
Millis = Annotated[int, Field(ge=0)]
