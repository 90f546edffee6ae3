"""Parsing the output of kubectl and containerd, and kind's configuration."""

from __future__ import annotations

import json
from pathlib import Path

from cluster import kindcluster, report, versions
from cluster.cni import peers_of
from cluster.kubectl import Node, parse_nodes, renewed

DIGEST = "sha256:1111"
LISTING = f"""REF TYPE DIGEST SIZE PLATFORMS LABELS
docker.io/library/app:1 application/vnd.oci.image.manifest.v1+json sha256:aaaa 1 MiB linux/amd64 -
docker.io/library/app:2 application/vnd.oci.image.manifest.v1+json sha256:bbbb 1 MiB linux/amd64 -
{DIGEST} application/vnd.oci.image.manifest.v1+json sha256:aaaa 1 MiB linux/amd64 -
"""


def node(name: str, cidr: str) -> Node:
    return Node(name, versions.KUBERNETES, ready=True, pod_cidr=cidr, runtime="containerd://1")


def test_image_counts_as_loaded_only_under_its_current_name() -> None:
    assert kindcluster.holds(LISTING, "app:1", DIGEST)
    assert not kindcluster.holds(LISTING, "app:2", DIGEST)
    assert not kindcluster.holds(LISTING, "app:3", DIGEST)
    assert not kindcluster.holds(LISTING, "app:1", "sha256:2222")
    assert not kindcluster.holds("", "app:1", DIGEST)


def test_image_names_get_registry_and_tag() -> None:
    assert kindcluster.full_name("app") == "docker.io/library/app:latest"
    assert kindcluster.full_name("nanogrid/operator:dev") == "docker.io/nanogrid/operator:dev"
    assert kindcluster.full_name("localhost:5000/app") == "localhost:5000/app:latest"
    assert kindcluster.full_name("registry.example/a/b:1") == "registry.example/a/b:1"


def test_nodes_are_read_with_and_without_addresses() -> None:
    def item(name: str, ready: str, spec: dict[str, str]) -> dict[str, object]:
        info = {"kubeletVersion": "v1.34.4", "containerRuntimeVersion": "containerd://1.6.20"}
        conditions = [{"type": "Ready", "status": ready}]
        status = {"conditions": conditions, "nodeInfo": info}
        return {"metadata": {"name": name}, "spec": spec, "status": status}

    items = [item("b", "Unknown", {}), item("a", "True", {"podCIDR": "10.244.1.0/24"})]
    nodes = parse_nodes(json.dumps({"items": items}))
    assert [(n.name, n.ready, n.pod_cidr) for n in nodes] == [
        ("a", True, "10.244.1.0/24"),
        ("b", False, ""),
    ]


def test_only_recently_renewed_leases_count() -> None:
    specs = {
        "fresh": {"renewTime": "2026-01-01T00:00:10.500000Z"},
        "stale": {"renewTime": "2026-01-01T00:00:09.000000Z"},
        "never": {},
    }
    items = [{"metadata": {"name": name}, "spec": spec} for name, spec in specs.items()]
    assert renewed(json.dumps({"items": items}), 1767225610.0) == ["fresh"]


def test_peers_are_all_other_nodes() -> None:
    nodes = [node("a", "10.244.0.0/24"), node("b", "10.244.1.0/24"), node("c", "10.244.2.0/24")]
    assert peers_of(nodes[1], nodes) == "a 10.244.0.0/24\nc 10.244.2.0/24\n"


def test_kind_uses_its_own_network_if_images_can_be_pulled() -> None:
    own, published = (json.loads(kindcluster.config(own)) for own in (True, False))
    assert own["networking"] == {"disableDefaultCNI": True, "kubeProxyMode": "nftables"}
    assert "networking" not in published
    roles = ["control-plane", "worker", "worker"]
    assert [n["role"] for n in own["nodes"]] == [n["role"] for n in published["nodes"]] == roles


def test_published_node_image_is_pinned_to_the_same_minor() -> None:
    name, _, digest = versions.PUBLISHED_NODE_IMAGE.partition("@")
    assert name.startswith(f"kindest/node:{versions.KUBERNETES.rpartition('.')[0]}.")
    assert digest.startswith("sha256:")
    assert len(digest) == len("sha256:") + 64


def test_disk_usage_counts_a_file_with_two_names_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    alone = report.disk_usage(tmp_path)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert alone >= 100_000
    assert report.disk_usage(tmp_path) == alone
    assert report.disk_usage(tmp_path / "absent") == 0
