"""Environment variables of the code, with values or from Secrets."""

from typing import Annotated

from pydantic import ConfigDict, Field

from nanogrid import names
from nanogrid.api.fields import NO_NUL, Model, cel, list_map


class SecretKeyRef(Model):
    """A key of a Secret in the job's namespace."""

    name: Annotated[
        str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    ] = Field(
        description="Name of the Secret. The NanoGridTenant of the namespace must list it in "
        "allow.secrets."
    )
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        description="Key in the Secret's data."
    )
    optional: bool = Field(
        False,
        description="Whether the job runs without the variable if the Secret or the key does not "
        "exist.",
    )


class EnvSource(Model):
    """Where the value of a variable comes from."""

    secret_key_ref: SecretKeyRef = Field(description="A key of a Secret.")


class EnvVar(Model):
    """An environment variable of the code."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.value) || !has(self.valueFrom)",
                "a variable has value or valueFrom, not both: remove one of them",
            ),
        )
    )

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
            json_schema_extra=cel(
                (
                    " && ".join(f"!self.startsWith('{p}')" for p in names.RESERVED_ENV_PREFIXES),
                    "names that start with "
                    + ", ".join(names.RESERVED_ENV_PREFIXES)
                    + " are reserved: choose another",
                ),
            ),
        ),
    ] = Field(description="Name of the variable.")
    value: Annotated[str, Field(max_length=32768, pattern=NO_NUL)] | None = Field(
        None, description="Value of the variable. Without valueFrom it defaults to an empty text."
    )
    value_from: EnvSource | None = Field(
        None,
        description="Source of the value, instead of value. Only the code gets it; it is not in "
        "the result, the status, Events or logs.",
    )


EnvVars = Annotated[list[EnvVar], list_map("name", 64)]
