"""Which buckets and keys a job may name: those of its namespace, and those of its tenant. Pure."""

from dataclasses import dataclass

from nanogrid.api.inputs_outputs import S3Location, S3Target
from nanogrid.tenant_keys import Use, place_fault, shown, spelling_fault, within
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.tenant import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Checks the S3 fields of one job; each method raises InvalidSpecError."""

    tenant: Tenant
    request_id: str = ""
    session: bool = False

    def code(self, field: str, bucket: str | None, key: str) -> str:
        """The bucket of a ZIP with code; ``field`` is the path of its block in the spec."""
        return self._check(field, "key", Use.CODE, bucket, key)

    def source(self, field: str, s3: S3Location) -> str:
        """The bucket of an input."""
        if s3.key is not None:
            return self._check(field, "key", Use.INPUT, s3.bucket, s3.key)
        return self._check(field, "prefix", Use.INPUT, s3.bucket, s3.prefix or "")

    def target(self, field: str, s3: S3Target | None, default: str) -> tuple[str, str]:
        """Bucket and prefix of the outputs; ``default`` is a prefix below the root."""
        area = self.tenant.area
        if s3 is None or (s3.prefix is None and s3.bucket in (None, area.bucket)):
            return area.bucket, default
        prefix = s3.prefix or default
        bucket = self._check(field, "prefix", Use.TARGET, s3.bucket, prefix)
        return bucket, prefix if prefix.endswith("/") else prefix + "/"

    def _check(self, block: str, leaf: str, use: Use, named: str | None, name: str) -> str:
        bucket = named or self.tenant.area.bucket
        if not bucket:
            raise InvalidSpecError(
                "the spec names no bucket, and the operator has no default bucket: set s3.bucket "
                "in the chart's values, or bucket in the spec"
            )
        if fault := self._fault(use, bucket, name, folder=leaf == "prefix"):
            raise InvalidSpecError(f"{block}.{leaf}: {shown(name)} {fault}")
        return bucket

    def _fault(self, use: Use, bucket: str, name: str, *, folder: bool) -> str:
        area = self.tenant.area
        if fault := spelling_fault(name, folder=folder):
            return f"{fault}; write the key as S3 lists it"
        if bucket == area.bucket and within(name, area.root):
            return place_fault(
                name,
                use,
                root=area.root,
                folder=folder,
                request_id=self.request_id,
                session=self.session,
                foreign_roots=self.tenant.foreign_roots,
            )
        if self._allowed(use, bucket, name):
            return ""
        access = "ReadWrite" if use is Use.TARGET else "Read"
        ask = f"let the platform team add the bucket with access {access} to allow.buckets of "
        ask += f"NanoGridTenant {area.namespace}"
        if bucket != area.bucket:
            return f"is in bucket {bucket}, which namespace {area.namespace} may not use so: {ask}"
        return (
            f"is outside {area.root}, the root of namespace {area.namespace}: use a key that "
            f"begins with {area.root}, or {ask}"
        )

    def _allowed(self, use: Use, bucket: str, name: str) -> bool:
        return any(
            rule.name == bucket
            and within(name, rule.prefix)
            and (use is not Use.TARGET or rule.access == "ReadWrite")
            for rule in self.tenant.allow.buckets
        )
