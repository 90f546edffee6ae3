"""Fake nodes whose pods only seem to run: kwok as a local process (https://kwok.sigs.k8s.io/).

A pod on a fake node is Running after a moment and ends a moment later, with a batch agent's report
in its termination message, as the kubelet would show it. So thousands of jobs go through a real
API server and a real operator without a container.

The operator knows nothing of this: the proxy before the API server puts its pods onto the nodes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from chaos.lab.faultproxy import Call, Fault, FaultProxy, Rewrite
from chaos.lab.kubeclient import KubeCallError, KubeClient
from nanogrid import names, wire
from nanogrid.reasons import Reason

Json = dict[str, Any]
TESTS = Path(__file__).parents[2]
NODES_PATH = "/api/v1/nodes"
ANNOTATION, VALUE = "kwok.x-k8s.io/node", "fake"
NODES = 4
RUN_MILLIS, RUN_JITTER_MILLIS = 1000, 3000


def _binary() -> str:
    """kwok of the cluster's cache, built there when it is not."""
    command = [sys.executable, "-m", "cluster", "tool", "kwok"]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"no kwok: {done.stderr[-2000:]}"
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
        message="seemed to run",
    )
    data = wire.to_dict(wire.Report(attempt=0, result=result))
    data["result"]["exitCode"] = 0
    text = json.dumps(data, separators=(",", ":"))
    assert "'" not in text, "the text goes into single quotes of YAML"
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
    """What befalls a sandbox pod on a fake node, as kwok's Stages."""
    # Inside the range over containers the dot is the container: the pod's fields come by $.
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
            # Not among the workers, which are containers for the other tests to stop.
            "labels": {"node-role.kubernetes.io/control-plane": "", "type": "kwok"},
        },
        # Nothing is scheduled here: the pods of these tests name their node.
        "spec": {"taints": [{"key": ANNOTATION, "value": VALUE, "effect": "NoSchedule"}]},
    }


@contextmanager
def fake_nodes(directory: Path, prefix: str) -> Iterator[list[str]]:
    """kwok and its nodes; the names of the nodes."""
    config = directory / "stages.yaml"
    config.write_text(stages())
    client = KubeClient()
    made = [f"{prefix}-{number}" for number in range(NODES)]
    command = [_binary(), f"--kubeconfig={os.environ['KUBECONFIG']}", f"--config={config}"]
    command += [f"--manage-nodes-with-annotation-selector={ANNOTATION}={VALUE}"]
    command += ["--manage-all-nodes=false", "--node-lease-duration-seconds=40"]
    with open(directory / "kwok.log", "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for name in made:
            client.call("POST", NODES_PATH, _node(name))
        yield made
    finally:
        for name in made:
            try:
                client.call("DELETE", f"{NODES_PATH}/{name}")
            except KubeCallError as error:
                print(f"node {name} is left: {error}")
        process.terminate()
        process.wait(10)


def onto(nodes: list[str], proxy: FaultProxy) -> Fault:
    """From now on each pod that is created through the proxy names one of the nodes as its own."""
    turn = count()

    def named(body: bytes) -> bytes:
        pod = json.loads(body)
        pod["spec"]["nodeName"] = nodes[next(turn) % len(nodes)]
        return json.dumps(pod).encode()

    def creates(call: Call) -> bool:
        return call.method == "POST" and call.path.endswith("/pods")

    return proxy.fault(creates, Rewrite(named))
