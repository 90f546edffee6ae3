"""A NanoGridTenant: what the platform team allows one namespace.

The object is in the namespace of the release, which tenants cannot write. Its name is the
namespace that it is about, so two objects cannot disagree about one namespace.
"""

from typing import Annotated, Literal

from pydantic import Field

from nanogrid import names
from nanogrid.api.fields import Bucket, CpuLimit, MemoryLimit, Model, Resource, cel
from nanogrid.api.network import EGRESS_DENY, Cidr, Egress, Host

_NAME = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
Name = Annotated[str, Field(min_length=1, max_length=253, pattern=_NAME)]
PriorityClass = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=_NAME,
        json_schema_extra=cel(
            (
                "!self.startsWith('system-')",
                "the classes system-* are for the cluster's own pods: use a class of your own",
            ),
        ),
    ),
]
# nanogrid_operator.decision.policy has the rules of matching.
ImagePattern = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=cel(
            (
                "!self.contains('/') || !self.split('/')[0].contains('*')",
                "the registry, before the first '/', must not contain '*': write it out, or use "
                "** alone, which is every image",
            ),
            (
                "self.split('**').size() <= 2",
                "'**' can be only the last segment, for example registry.example.com/team-a/**",
            ),
        ),
    ),
]
Arn = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=cel(
            ("self.startsWith('arn:')", "an ARN starts with 'arn:': use the target group's ARN"),
        ),
    ),
]
Root = Annotated[
    str,
    Field(
        max_length=512,
        json_schema_extra=cel(
            (
                "self == '' || (self.endsWith('/') && !self.startsWith('/'))",
                "a root or prefix is empty, or a path that ends with '/' and does not start with "
                "it, for example team-a/",
            ),
            (
                "!self.split('/').exists(p, p == '..' || p == '.') && !self.contains('//')",
                "a root or prefix must not contain empty, '.' or '..' segments: remove them",
            ),
        ),
    ),
]


class BucketRule(Model):
    """Another bucket that jobs of the namespace may name."""

    name: Bucket = Field(description="Name of the bucket.")
    prefix: Root = Field("", description="Keys that may be used begin with this prefix.")
    access: Literal["Read", "ReadWrite"] = Field(
        "Read", description="Read allows code and inputs. ReadWrite also allows outputs."
    )


class Allowed(Model):
    """Values that jobs and functions may choose besides the installation's own.

    Empty lists allow none.
    """

    images: Annotated[list[ImagePattern], Field(max_length=64)] = Field(
        default_factory=list,
        description="Images of spec.runtime.image, written as in the job. '*' matches any "
        "characters of one segment, '**' as the last segment matches all that follow. A pattern "
        "without a tag allows every tag and digest. Example: registry.example.com/team-a/**.",
    )
    service_accounts: Annotated[list[Name], Field(max_length=64)] = Field(
        default_factory=list, description="Names for spec.serviceAccountName."
    )
    priority_classes: Annotated[list[PriorityClass], Field(max_length=64)] = Field(
        default_factory=list,
        description="Names for spec.priorityClassName, and for Kueue's label "
        "kueue.x-k8s.io/priority-class.",
    )
    runtime_classes: Annotated[list[Name], Field(max_length=64)] = Field(
        default_factory=list,
        description="Names for spec.runtime.runtimeClassName. List only classes that isolate as "
        "well as the installation's own, or better.",
    )
    secrets: Annotated[list[Name], Field(max_length=64)] = Field(
        default_factory=list,
        description="Secrets of the namespace that spec.env may read with valueFrom.secretKeyRef.",
    )
    target_group_arns: Annotated[list[Arn], Field(max_length=64)] = Field(
        default_factory=list,
        alias="targetGroupARNs",
        description="Target groups for session.targetGroupARN. '*' matches any characters except "
        "':' and '/'.",
    )
    buckets: Annotated[list[BucketRule], Field(max_length=32)] = Field(
        default_factory=list, description="Other buckets that jobs may name."
    )


class NetworkCeiling(Model):
    """The widest network access that a job of the namespace may ask for."""

    egress: Egress = Field(
        EGRESS_DENY,
        description="Highest value of spec.network.egress: Deny, Allowlist or Internet.",
    )
    cidrs: Annotated[list[Cidr], Field(max_length=64)] = Field(
        default_factory=list,
        description="Networks that contain every CIDR of a job's allow-list.",
    )
    hosts: Annotated[list[Host], Field(max_length=64)] = Field(
        default_factory=list,
        description="Names that contain every host of a job's allow-list; *.example.com is every "
        "name below example.com.",
    )


class TenantLimits(Model):
    """Limits of the namespace. Jobs over the limit of a sum wait; they are not refused."""

    jobs: int | None = Field(
        None, ge=1, le=100_000, description="Jobs and sessions that run at the same time."
    )
    cpu: CpuLimit | None = Field(
        None, description="Sum of the CPU limits of all running jobs and sessions."
    )
    memory: MemoryLimit | None = Field(
        None, description="Sum of the memory limits of all running jobs and sessions."
    )
    execution_seconds: int | None = Field(
        None,
        ge=1,
        le=604_800,
        description="Highest timeouts.executionSeconds of a job, and highest "
        "session.executionTimeoutSeconds. A job with a longer one is refused. A "
        "terminationGracePeriodSeconds above the installation's counts as well.",
    )
    output_bytes_per_day: int | None = Field(
        None,
        ge=1,
        le=1 << 50,
        description="Bytes of stored outputs in 24 hours. Over it, further jobs wait.",
    )


class TenantSpec(Model):
    """What one namespace has and may do.

    A field that is not set has the installation's default, tenancy.defaults in the chart's values.
    A field that is set replaces that default as a whole.
    """

    bucket: Bucket | None = Field(
        None, description="Bucket of code, inputs, outputs and results. Defaults to s3.bucket."
    )
    root: Root | None = Field(
        None,
        description="Prefix of all S3 keys of the namespace. Defaults to NAMESPACE/. Two "
        "namespaces with the same root share their data.",
    )
    allow: Allowed | None = Field(
        None, description="Values that jobs may choose besides the installation's own."
    )
    network: NetworkCeiling | None = Field(
        None, description="Widest network access that jobs may ask for."
    )
    limits: TenantLimits | None = Field(None, description="Limits of the namespace.")
    weight: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Share of free slots when jobs of several namespaces queue. Defaults to 1.",
    )


class NanoGridTenant(Resource):
    """The object of one namespace."""

    kind: str = names.TENANT_KIND
    spec: TenantSpec = Field(default_factory=TenantSpec)
