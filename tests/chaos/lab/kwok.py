"""Fake nodes with simulated pods: kwok as a local process (https://kwok.sigs.k8s.io/).

A pod on a fake node becomes Running after a moment and ends a moment later. Its termination message
holds a batch agent's report, as the kubelet would show it. So thousands of jobs use a real API
server and a real operator without any container.

The operator does not know this: the proxy in front of the API server assigns its pods to the nodes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from chaos.lab.faultproxy import FaultProxy
from chaos.lab.faults import Call, Fault, Rewrite
from chaos.lab.kubeclient import KubeCallError, KubeClient
from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid.types import Json

TESTS = Path(__file__).parents[2]
NODES_PATH = "/api/v1/nodes"
ANNOTATION, VALUE = "kwok.x-k8s.io/node", "fake"
NODES = 4
RUN_MILLIS, RUN_JITTER_MILLIS = 1000, 3000


def _binary() -> str:
    """The path of kwok in the cluster's cache; builds it if it is missing."""
    command = [sys.executable, "-m", "cluster", "tool", "kwok"]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"kwok is not available: {done.stderr[-2000:]}"
    return done.stdout.split()[-1]


def _report() -> str:
    """A report as JSON whose identity is a template over the pod's labels."""
    result = wire.blank_result(
        request_id="REQUEST",
        function_id=None,
        status=wire.STATUS_SUCCESS,
        reason=Reason.COMPLETED.value,
        job=wire.JobRef(namespace="NAMESPACE", name="JOB", uid="REQUEST"),
        attempt=0,
        message="simulated",
    )
    data = wire.to_dict(wire.Report(attempt=0, result=result))
    data["result"]["exitCode"] = 0
    text = json.dumps(data, separators=(",", ":"))
    assert "'" not in text, "the text is placed in single quotes in YAML"
    for mark, template in (
        ("REQUEST", _label(names.LABEL_JOB_UID)),
        ("NAMESPACE", "{{ .metadata.namespace }}"),
        ('"JOB"', f'"{_label(names.LABEL_JOB)}"'),
        ('"attempt":0', f'"attempt":{_label(names.LABEL_ATTEMPT)}'),
    ):
        text = text.replace(mark, template)
    return text


def _label(name: str) -> str:
    return f'{{{{ index .metadata.labels "{name}" }}}}'


_STAGE = """\
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {{name: {name}}}
spec:
  resourceRef: {{apiGroup: v1, kind: Pod}}
  selector:
    matchLabels: {{app.kubernetes.io/name: nanogrid-sandbox}}
    matchExpressions:
    - {{key: .metadata.deletionTimestamp, operator: {deleted}}}
{phase}
  delay: {{durationMilliseconds: {delay}, jitterDurationMilliseconds: {most}}}
  next:
{next}
"""

_STATUS = """\
    statusTemplate: |
      {{{{ $now := Now }}}}
      phase: {phase}
      startTime: {{{{ $now | Quote }}}}
      containerStatuses:
      {{{{ range .spec.containers }}}}
      - name: {{{{ .name | Quote }}}}
        image: {{{{ .image | Quote }}}}
        imageID: fake
        ready: {ready}
        restartCount: 0
        state:
{state}
      {{{{ end }}}}
"""

_RUNNING = "          running: {startedAt: {{ $now | Quote }}}"
_ENDED = """\
          terminated:
            exitCode: 0
            reason: Completed
            startedAt: {{{{ $now | Quote }}}}
            finishedAt: {{{{ $now | Quote }}}}
            {{{{ if eq .name "{agent}" }}}}
            message: '{report}'
            {{{{ end }}}}"""


def _phase(value: str) -> str:
    return f"    - {{key: .status.phase, operator: In, values: [{value}]}}"


def stages() -> str:
    """The life of a sandbox pod on a fake node, as kwok's Stages."""
    # Inside the range over containers, the dot is the container; $ gives the pod's fields.
    report = _report().replace(".metadata", "$.metadata")
    ended = _ENDED.format(agent=names.CONTAINER_AGENT, report=report)
    run = _STATUS.format(phase="Running", ready="true", state=_RUNNING)
    end = _STATUS.format(phase="Succeeded", ready="false", state=ended)
    gone = "    finalizers: {empty: true}\n    delete: true"
    return "---\n".join(
        (
            _STAGE.format(
                name="pod-run", deleted="DoesNotExist", phase=_phase("Pending"),
                delay=100, most=200, next=run,
            ),
            _STAGE.format(
                name="pod-end", deleted="DoesNotExist", phase=_phase("Running"),
                delay=RUN_MILLIS, most=RUN_MILLIS + RUN_JITTER_MILLIS, next=end,
            ),
            _STAGE.format(
                name="pod-gone", deleted="Exists", phase="", delay=10, most=20, next=gone
            ),
        )
    )  # fmt: skip


def _node(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {ANNOTATION: VALUE, "node.alpha.kubernetes.io/ttl": "0"},
            # Not a worker: other tests stop the workers, which are containers.
            "labels": {"node-role.kubernetes.io/control-plane": "", "type": "kwok"},
        },
        # Nothing is scheduled here: the pods of these tests have a nodeName.
        "spec": {"taints": [{"key": ANNOTATION, "value": VALUE, "effect": "NoSchedule"}]},
    }


@contextmanager
def fake_nodes(directory: Path, prefix: str) -> Iterator[list[str]]:
    """Run kwok with fake nodes; yields the names of the nodes."""
    config = directory / "stages.yaml"
    config.write_text(stages())
    client = KubeClient()
    created = [f"{prefix}-{number}" for number in range(NODES)]
    command = [_binary(), f"--kubeconfig={os.environ['KUBECONFIG']}", f"--config={config}"]
    command += [f"--manage-nodes-with-annotation-selector={ANNOTATION}={VALUE}"]
    command += ["--manage-all-nodes=false", "--node-lease-duration-seconds=40"]
    with open(directory / "kwok.log", "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for name in created:
            client.call("POST", NODES_PATH, _node(name))
        yield created
    finally:
        for name in created:
            try:
                client.call("DELETE", f"{NODES_PATH}/{name}")
            except KubeCallError as error:
                print(f"node {name} was not deleted: {error}")
        process.terminate()
        process.wait(10)


def assign_pods(nodes: list[str], proxy: FaultProxy) -> Fault:
    """Give each pod that is created through the proxy one of the nodes, in turn."""
    turn = count()

    def with_node(body: bytes) -> bytes:
        pod = json.loads(body)
        pod["spec"]["nodeName"] = nodes[next(turn) % len(nodes)]
        return json.dumps(pod).encode()

    def creates(call: Call) -> bool:
        return call.method == "POST" and call.path.endswith("/pods")

    return proxy.fault(creates, Rewrite(with_node))
