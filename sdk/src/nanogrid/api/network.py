"""What the code of a job can reach in the network."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from nanogrid.api.fields import Model, cel

EGRESS_DENY: Final = "Deny"
EGRESS_ALLOWLIST: Final = "Allowlist"
EGRESS_INTERNET: Final = "Internet"
EGRESS_ORDER: Final = (EGRESS_DENY, EGRESS_ALLOWLIST, EGRESS_INTERNET)  # from narrow to wide
Egress = Literal["Deny", "Allowlist", "Internet"]

Cidr = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        pattern=r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$",
        json_schema_extra=cel(
            ("isCIDR(self)", "expected a network in CIDR form, for example 203.0.113.0/24"),
        ),
    ),
]
Host = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
    ),
]


class Network(Model):
    """Network access of the sandbox. DNS is always open; metadata addresses never are."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.egress) || (self.egress == 'Allowlist') == "
                "((has(self.cidrs) && size(self.cidrs) > 0) || "
                "(has(self.hosts) && size(self.hosts) > 0))",
                "cidrs and hosts belong to egress: Allowlist, which needs at least one of them",
            ),
        )
    )

    egress: Egress | None = Field(
        None,
        description="Deny allows no connection. Allowlist allows cidrs and hosts. Internet allows "
        "all public addresses. The namespace's NanoGridTenant sets the highest value. Defaults to "
        "Allowlist with cidrs or hosts, otherwise to Deny.",
    )
    cidrs: Annotated[list[Cidr], Field(max_length=32)] = Field(
        default_factory=list,
        description="Networks that the code can connect to, for example 203.0.113.0/24.",
    )
    hosts: Annotated[list[Host], Field(max_length=32)] = Field(
        default_factory=list,
        description="Names that the code can connect to through the egress proxy, on port 443; "
        "*.example.com is every name below example.com. The code needs an HTTP client that uses "
        "HTTPS_PROXY.",
    )

    @property
    def access(self) -> Egress:
        """The network access in force: a list that is written is an allow-list."""
        if self.egress is not None:
            return self.egress
        return EGRESS_ALLOWLIST if self.cidrs or self.hosts else EGRESS_DENY
