"""The output of `status`."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster import dockerd, networkpolicy, ways
from cluster.kubectl import Kubectl
from cluster.paths import Paths
from cluster.steps import CommandFailed

WAYS = {
    "kubeconfig": "the cluster in KUBECONFIG",
    "pull": "kind with the published node image",
    "build": "kind with a node image built from package registries",
    None: "none; `make cluster-up` creates one",
}


def report(here: Paths) -> dict[str, Any]:
    """Everything that `status` shows; changes and starts nothing."""
    chosen = ways.recall(here)
    kubeconfig = ways.foreign(here) or (str(here.kubeconfig) if chosen else None)
    way = "kubeconfig" if ways.foreign(here) else (chosen.way if chosen else None)
    nodes, problem = _nodes(kubeconfig)
    if chosen and way == "build" and nodes:
        policies = networkpolicy.state(chosen.engine, (node["name"] for node in nodes))
    else:
        policies = None
    return {
        "cluster": here.cluster if way in ("pull", "build") else None,
        "way": way,
        "kubeconfig": kubeconfig,
        "ready": bool(nodes) and all(node["ready"] for node in nodes),
        "problem": problem,
        "nodes": nodes,
        "networkPolicy": policies,
        "dockerHost": chosen.docker_host if chosen else None,
        "dockerd": dockerd.own_pid(here),
        "cache": {"path": str(here.root), "bytes": disk_usage(here.root)},
    }


def policy_lines(way: str | None, policies: dict[str, str | None] | None) -> list[str]:
    """Who enforces NetworkPolicies, and on which nodes they are not enforced."""
    if policies is not None:
        problems = {node: problem for node, problem in policies.items() if problem}
        enforced = len(policies) - len(problems)
        first = f"policies: enforced by kube-router on {enforced} of {len(policies)} nodes"
        return [first, *(f"          {node}: {problem}" for node, problem in problems.items())]
    if way == "pull":
        return ["policies: enforced by kind's own network"]
    if way == "kubeconfig":
        return ["policies: depend on that cluster's network; nothing is installed there"]
    return []


def _nodes(kubeconfig: str | None) -> tuple[list[dict[str, Any]], str | None]:
    if kubeconfig is None:
        return [], None
    try:
        return [asdict(node) for node in Kubectl(kubeconfig).nodes()], None
    except CommandFailed as error:
        return [], str(error).strip().splitlines()[-1]


def disk_usage(root: Path) -> int:
    """Bytes on disk below a directory, without other mounts (container roots)."""
    total, seen, stack = 0, set[int](), [root]
    device = root.stat().st_dev if root.exists() else None
    while stack:
        try:
            entries = list(os.scandir(stack.pop()))
        except FileNotFoundError:
            continue
        for entry in entries:
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if info.st_dev != device or info.st_ino in seen:
                continue
            if info.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                seen.add(info.st_ino)
            total += info.st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                stack.append(Path(entry.path))
    return total


def text(content: dict[str, Any]) -> str:
    """The report as text."""
    lines = [f"cluster:  {content['cluster'] or '-'}", f"made by:  {WAYS[content['way']]}"]
    for node in content["nodes"]:
        state = "Ready" if node["ready"] else "NotReady"
        lines.append(f"node:     {node['name']}  {node['version']}  {state}")
    lines += policy_lines(content["way"], content["networkPolicy"])
    if content["problem"]:
        lines.append(f"problem:  {content['problem']}")
    if content["dockerHost"]:
        lines.append(f"docker:   {content['dockerHost']}")
    if content["dockerd"]:
        lines.append(f"dockerd:  process {content['dockerd']}, started by us")
    if content["kubeconfig"]:
        lines.append(f"config:   {content['kubeconfig']}")
    cache = content["cache"]
    lines.append(f"cache:    {cache['path']}, {cache['bytes'] / 1e9:.1f} GB")
    return "\n".join(lines)
