"""The ``restricted`` Pod Security Standard: a function from a pod to its violations.

Rules: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (baseline and
restricted), Kubernetes 1.34.
"""

from collections.abc import Iterator

from nanogrid.types import Json

VOLUME_TYPES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
    "projected", "secret",
}  # fmt: skip
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip
SECCOMP = ("RuntimeDefault", "Localhost")


def violations(pod: Json) -> list[str]:
    """The violations of the restricted profile; empty for a valid pod."""
    spec = pod["spec"]
    found = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    for volume in spec.get("volumes", []):
        kind = next(key for key in volume if key != "name")
        if kind not in VOLUME_TYPES:
            found.append(f"volume {volume['name']} is a {kind}")
    context = spec.get("securityContext", {})
    found += [f"pod: {v}" for v in _common(context)]
    found += [
        f"sysctl {s['name']}" for s in context.get("sysctls", []) if s["name"] not in SAFE_SYSCTLS
    ]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        found += [f"{container['name']}: {v}" for v in _container(container, context)]
    return found


def _common(context: Json) -> Iterator[str]:
    if context.get("runAsUser") == 0:
        yield "runAsUser is 0"
    if context.get("seLinuxOptions"):
        yield "seLinuxOptions are set"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "hostProcess is set"
    profile = context.get("appArmorProfile", {}).get("type", "RuntimeDefault")
    if profile not in SECCOMP:
        yield f"appArmorProfile is {profile}"


def _container(container: Json, pod_context: Json) -> Iterator[str]:
    context = container.get("securityContext", {})
    yield from _common(context)
    if context.get("privileged"):
        yield "privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if not context.get("runAsNonRoot", pod_context.get("runAsNonRoot")):
        yield "runAsNonRoot is not true"
    seccomp = context.get("seccompProfile", pod_context.get("seccompProfile", {}))
    if seccomp.get("type") not in SECCOMP:
        yield "no seccompProfile"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities are not dropped"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if context.get("procMount", "Default") != "Default":
        yield "procMount is set"
    yield from _network(container)


def _network(container: Json) -> Iterator[str]:
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort is set"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if any("host" in container.get(probe, {}).get(how, {}) for how in ("httpGet", "tcpSocket")):
            yield f"{probe} names a host"
