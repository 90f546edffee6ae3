"""What a job may choose: the allow-lists of its namespace's NanoGridTenant. Pure.

A job names its image, service account, priority class, RuntimeClass and Secrets. Each of them can
give it rights of the platform, so a value must be the installation's own or be in an allow-list.
"""

import re
from collections.abc import Iterator, Mapping

from nanogrid import names
from nanogrid.api.job import Spec
from nanogrid.quantity import quantity
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.execution_time import execution_seconds, longer_grace
from nanogrid_operator.model.tenant import Tenant
from nanogrid_operator.settings import Settings

ANY_IMAGE = "**"
SYSTEM_PRIORITY = "system-"
# Names of a job's own Secrets (`names.session_object`, `names.report_secret`), and the Secrets in
# which Helm keeps values.
OWN_SECRETS = re.compile(r".*-[rs]-[0-9a-f]{8}|sh\.helm\.release\.v1\..*")
DOCKER_HUB = re.compile(r"^(?:(?:index\.)?docker\.io/)?(?:library/)?")


def check(spec: Spec, tenant: Tenant, settings: Settings) -> None:
    """Check the spec in force, with what is pinned of a function.

    Raises:
        InvalidSpecError: The namespace does not allow a value; the message has all of them.
    """
    refused = [
        *_image(spec, tenant, settings),
        *_identity(spec, tenant, settings),
        *_secrets(spec, tenant, settings),
        *_execution_time(spec, tenant, settings),
        *_target_group(spec, tenant),
        *_disk(spec, settings),
    ]
    if refused:
        raise InvalidSpecError("; ".join(refused))


def check_labels(labels: Mapping[str, str], tenant: Tenant) -> None:
    """Check the labels of a job that its pods get: Kueue's priority stops jobs of other namespaces.

    Raises:
        InvalidSpecError: The namespace does not allow the priority.
    """
    priority = labels.get(names.LABEL_KUEUE_PRIORITY)
    if priority not in (None, *tenant.allow.priority_classes):
        field = f"metadata.labels {names.LABEL_KUEUE_PRIORITY}"
        raise InvalidSpecError(_refusal(field, priority, tenant, "priorityClasses"))


def image_allowed(image: str, patterns: list[str]) -> bool:
    """Whether one of the patterns matches the whole reference of an image.

    References are compared as they are written: ``python:3.12`` and
    ``docker.io/library/python:3.12`` are different. Only a missing tag is ``latest``.
    """
    return any(_image_matches(pattern, image) for pattern in patterns)


def target_group_allowed(arn: str, tenant: Tenant) -> bool:
    """Whether sessions of the namespace may be targets of this target group."""
    return any(_segments_match(p, arn, r"[:/]") for p in tenant.allow.target_group_arns)


def _image(spec: Spec, tenant: Tenant, settings: Settings) -> Iterator[str]:
    image = spec.runtime.image if spec.runtime else None
    if image is None or image in (settings.executor_image, *settings.words("runtime_images")):
        return
    platform = {_repository(known) for known in settings.words("platform_images")}
    field = "spec.runtime.image"
    if spec.function_ref is not None:
        field += f" of the job or of function {spec.function_ref.name}"
    if _repository(image) in platform:
        yield f"{field}: {image} is an image of the platform and no runtime: use another image"
    elif not image_allowed(image, tenant.allow.images):
        yield _refusal(field, image, tenant, "images")


def _identity(spec: Spec, tenant: Tenant, settings: Settings) -> Iterator[str]:
    """Service account, priority class and RuntimeClass."""
    allow = tenant.allow
    account = spec.service_account_name
    if account not in (None, settings.service_account, *allow.service_accounts):
        yield _refusal("spec.serviceAccountName", account, tenant, "serviceAccounts")
    priority = spec.priority_class_name
    if priority is not None and priority.startswith(SYSTEM_PRIORITY):
        yield (
            f"spec.priorityClassName: {priority} is for the cluster's own pods: remove it, or use "
            "another class"
        )
    elif priority not in (None, settings.priority_class, *allow.priority_classes):
        yield _refusal("spec.priorityClassName", priority, tenant, "priorityClasses")
    runtime = spec.runtime.runtime_class_name if spec.runtime else None
    if runtime not in (None, settings.runtime_class, *allow.runtime_classes):
        yield _refusal("spec.runtime.runtimeClassName", runtime, tenant, "runtimeClasses")


def _secrets(spec: Spec, tenant: Tenant, settings: Settings) -> Iterator[str]:
    own = (
        settings.s3_secret,
        *settings.words("reserved_secrets"),
        *settings.words("sandbox_pull_secrets"),
    )
    for variable in spec.env:
        if variable.value_from is None:
            continue
        name = variable.value_from.secret_key_ref.name
        field = f"spec.env {variable.name}, valueFrom.secretKeyRef.name"
        if name in own or OWN_SECRETS.fullmatch(name):
            yield f"{field}: {name} is a Secret of NanoGrid itself: use another Secret"
        elif name not in tenant.allow.secrets:
            yield _refusal(field, name, tenant, "secrets")


def _execution_time(spec: Spec, tenant: Tenant, settings: Settings) -> Iterator[str]:
    most = tenant.limits.execution_seconds
    grace, more = spec.termination_grace_period_seconds, longer_grace(spec, settings)
    field = "spec.timeouts.executionSeconds"
    if spec.is_session:
        field = "spec.session.executionTimeoutSeconds"
    seconds = execution_seconds(spec, tenant, settings)
    if most is not None and seconds > most:
        yield (
            f"{field}: {seconds} exceeds the limit {most} of the namespace "
            f"({names.TENANT_KIND} {tenant.namespace}, limits.executionSeconds): set at most {most}"
        )
    elif most is not None and more and seconds + more > most:
        yield (
            f"spec.terminationGracePeriodSeconds: {grace} is {more} longer than the default, and "
            f"with {field} {seconds} exceeds the limit {most} of the namespace "
            f"({names.TENANT_KIND} {tenant.namespace}, limits.executionSeconds): lower one of them"
        )


def _target_group(spec: Spec, tenant: Tenant) -> Iterator[str]:
    arn = spec.session_rules.target_group_arn if spec.is_session else None
    if arn is not None and not target_group_allowed(arn, tenant):
        yield _refusal("spec.session.targetGroupARN", arn, tenant, "targetGroupARNs")


def _disk(spec: Spec, settings: Settings) -> Iterator[str]:
    """The disk belongs to the node, so the platform team bounds what one job may fill."""
    limits = spec.resources.limits if spec.resources else None
    given = limits.ephemeral_storage if limits else None
    most = max(settings.workspace_size, settings.max_workspace_size, key=quantity)
    if given is not None and quantity(given) > quantity(most):
        yield (
            f"spec.resources.limits.ephemeral-storage: {given} exceeds {most}, the largest size of "
            "/app: lower it, or ask the platform team to raise sandbox.maxWorkspaceSize in the "
            "chart's values"
        )


def _refusal(field: str, value: str | None, tenant: Tenant, allow_list: str) -> str:
    return (
        f"{field}: {value} is not allowed in namespace {tenant.namespace} "
        f"({names.TENANT_KIND} {tenant.namespace}, allow.{allow_list}): use a value of that list, "
        "or ask the platform team to add it"
    )


def _split(image: str) -> tuple[str, str, str]:
    """Repository, tag and digest; a part that is not there is empty."""
    rest, _, digest = image.partition("@")
    last = rest.rpartition("/")[2]
    tag = last.partition(":")[2]
    return rest.removesuffix(f":{tag}") if tag else rest, tag, digest


def _repository(image: str) -> str:
    """The repository without the parts that Docker Hub's images may leave out."""
    return DOCKER_HUB.sub("", _split(image)[0], count=1)


def _image_matches(pattern: str, image: str) -> bool:
    if pattern == ANY_IMAGE:
        return True
    wanted, tag, digest = _split(pattern)
    repository, given_tag, given_digest = _split(image)
    if not _repository_matches(wanted, repository):
        return False
    if not (tag or digest):
        return True
    # A digest decides what is pulled, so a tag in front of it proves nothing.
    if given_digest or digest:
        return bool(digest) and _matches(digest, given_digest)
    return _matches(tag, given_tag or "latest")


def _repository_matches(pattern: str, repository: str) -> bool:
    above, _, last = pattern.rpartition("/")
    if last != ANY_IMAGE:
        return _segments_match(pattern, repository, "/")
    depth = above.count("/") + 1
    segments = repository.split("/")
    first = "/".join(segments[:depth])
    return bool(above) and len(segments) > depth and _segments_match(above, first, "/")


def _segments_match(pattern: str, text: str, separators: str) -> bool:
    """Whether all segments match one by one, and the separators between them are the same."""
    wanted, given = re.split(separators, pattern), re.split(separators, text)
    return (
        re.findall(separators, pattern) == re.findall(separators, text)
        and len(wanted) == len(given)
        and all(map(_matches, wanted, given))
    )


def _matches(pattern: str, text: str) -> bool:
    """Whether the whole text matches; ``*`` is any characters. Linear: it never goes back."""
    first, *parts = pattern.split("*")
    if not parts:
        return pattern == text
    *middle, last = parts
    if not text.startswith(first) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return text.endswith(last)
