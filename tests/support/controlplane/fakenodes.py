"""Fake nodes, and the life of a pod on them, as kwok plays it. Pure.

A pod is Running after 50 ms and ends 300 ms later, both with jitter. The termination message of its
agent is what an annotation of the pod holds. Bare pods and pods of Jobs have the same life.
"""

import json
from typing import Final

import yaml

from nanogrid import names
from nanogrid.types import Json

NODES: Final = 20
PODS_PER_NODE: Final = 2000
ANNOTATION_REPORT: Final = "bench.nanogrid.io/report"
PARALLEL: Final = 16
START_MILLIS, START_MOST, RUN_MILLIS, RUN_MOST = 50, 75, 300, 450

_STATUS: Final = """\
{{{{ $now := Now }}}}
phase: {phase}
startTime: {{{{ $now | Quote }}}}
conditions:
{{{{ range (list "Initialized" "Ready" "ContainersReady") }}}}
- {{type: {{{{ . }}}}, status: "{ready}", lastTransitionTime: {{{{ $now | Quote }}}}}}
{{{{ end }}}}
containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  imageID: fake
  ready: {boolean}
  restartCount: 0
  state:
{state}
{{{{ end }}}}
"""
_RUNNING: Final = "    running: {startedAt: {{ $now | Quote }}}"
_ENDED: Final = f"""\
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{{{ $now | Quote }}}}
      finishedAt: {{{{ $now | Quote }}}}
      {{{{ if eq .name "{names.CONTAINER_AGENT}" }}}}
      message: {{{{ index $.metadata.annotations "{ANNOTATION_REPORT}" | Quote }}}}
      {{{{ end }}}}"""


def configuration() -> str:
    """kwok's options and stages, as YAML documents."""
    options: Json = {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "options": {"podPlayStageParallelism": PARALLEL},
    }
    run = _STATUS.format(phase="Running", ready="True", boolean="true", state=_RUNNING)
    end = _STATUS.format(phase="Succeeded", ready="False", boolean="false", state=_ENDED)
    gone = {"finalizers": {"empty": True}, "delete": True}
    documents = [
        options,
        _stage("pod-run", "DoesNotExist", "Pending", START_MILLIS, START_MOST,
               {"statusTemplate": run}),
        _stage("pod-end", "DoesNotExist", "Running", RUN_MILLIS, RUN_MOST,
               {"statusTemplate": end}),
        _stage("pod-gone", "Exists", "", 1, 2, gone),
    ]  # fmt: skip
    return yaml.safe_dump_all(documents)


def _stage(name: str, deleted: str, phase: str, delay: int, most: int, follows: Json) -> Json:
    """One step of a pod's life; ``delay`` and ``most`` in ms."""
    expressions: list[Json] = [{"key": ".metadata.deletionTimestamp", "operator": deleted}]
    if phase:
        expressions.append({"key": ".status.phase", "operator": "In", "values": [phase]})
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": expressions},
            "delay": {"durationMilliseconds": delay, "jitterDurationMilliseconds": most},
            "next": follows,
        },
    }


def node(number: int) -> tuple[Json, Json]:
    """A fake node, and its status."""
    name = f"fake-{number}"
    room = {name: "10000Gi" for name in ("memory", "ephemeral-storage")}
    room |= {"cpu": "10000", "pods": str(PODS_PER_NODE)}
    labels = {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    manifest: Json = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
    }
    status: Json = {
        "capacity": room,
        "allocatable": room,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Fake"}],
    }
    return manifest, status


def report_annotation(report: Json) -> dict[str, str]:
    """The annotation whose text becomes the termination message of the agent."""
    return {ANNOTATION_REPORT: json.dumps(report, separators=(",", ":"))}
