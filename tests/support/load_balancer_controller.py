"""What the AWS Load Balancer Controller does with a session's objects, in an API server in memory.

Its rules, from its source (v3, https://github.com/kubernetes-sigs/aws-load-balancer-controller):

- It first adds a finalizer (``pkg/ingress/finalizer.go``, ``controllers/elbv2``).
- When it has applied an Ingress, it writes the load balancer's name to its status. For a
  TargetGroupBinding it writes the generation of the spec to ``status.observedGeneration``.
- What goes wrong is a Warning Event on the object: FailedBuildModel, FailedDeployModel,
  BackendNotFound, FailedNetworkReconcile (``pkg/k8s/events.go``).
- A pod with the readiness gate ``target-health.elbv2.k8s.aws/NAME`` gets a condition of this type.
  It is False while the target is not healthy, with reason and text of ``DescribeTargetHealth``
  (``pkg/targetgroupbinding/resource_manager.go``). The kubelet makes the pod Ready when all are
  True.
- Its webhook adds the gates of all TargetGroupBindings whose Service selects the pod, unless the
  pod has them (``pkg/inject/pod_readiness``).
- Without annotations, a target group has interval 15 s, timeout 5 s, thresholds 2 and 2, and the
  code 200 (``pkg/ingress/model_builder.go``).
"""

import copy
from dataclasses import dataclass

from nanogrid.types import Json
from nanogrid_operator.kube.objects import timestamp
from support.operator_fakes import EVENTS, FakeKube

ALB = "alb.ingress.kubernetes.io"
FINALIZERS = {
    "Ingress": "group.ingress.k8s.aws/nanogrid-sessions",
    "TargetGroupBinding": "elbv2.k8s.aws/resources",
}
ADDRESS = "internal-k8s-nanogrid-0123456789.ap-northeast-2.elb.amazonaws.com"
# Of the rules that it adds to the security groups of pods (``pkg/networking``).
RULE_DESCRIPTION = "elbv2.k8s.aws/targetGroupBinding=shared"
PREFIX = "target-health.elbv2.k8s.aws/"


@dataclass
class LoadBalancerController:
    """Acts on the objects at one path; nothing happens by itself."""

    kube: FakeKube
    path: str
    name: str

    @property
    def body(self) -> Json:
        """The object."""
        return self.kube.objects[f"{self.path}/{self.name}"]

    def take_up(self) -> None:
        """Add the finalizer."""
        self.body["metadata"]["finalizers"] = [FINALIZERS[self.body["kind"]]]

    def apply(self) -> None:
        """The load balancer is as the object says."""
        self.take_up()
        if self.body["kind"] == "Ingress":
            self.body["status"] = {"loadBalancer": {"ingress": [{"hostname": ADDRESS}]}}
        else:
            self.body["status"] = {"observedGeneration": self.body["metadata"]["generation"]}

    def warn(self, reason: str, message: str) -> None:
        """Say why it fails."""
        event = {
            "metadata": {"name": f"{self.name}.{len(self.kube.objects)}", "namespace": "team-a"},
            "involvedObject": {"name": self.name, "uid": self.body["metadata"]["uid"]},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "lastTimestamp": timestamp(self.kube.clock()),
        }
        self.kube.put(EVENTS, event)

    def clean_up(self) -> None:
        """Deregister the target of an object that is being deleted, and remove the finalizer."""
        assert self.body["metadata"]["deletionTimestamp"]
        self.kube.finalize(self.path, self.name)


def inject_gates(pod: Json, bindings: list[Json], services: dict[str, Json]) -> Json:
    """A copy of the pod as the webhook of the controller changes it."""
    found = copy.deepcopy(pod)
    gates = found["spec"].setdefault("readinessGates", [])
    for binding in bindings:
        service = services.get(binding["spec"]["serviceRef"]["name"])
        if service is None or binding["spec"].get("targetType") != "ip":
            continue
        gate = {"conditionType": PREFIX + binding["metadata"]["name"]}
        selected = service["spec"]["selector"].items() <= found["metadata"]["labels"].items()
        if selected and gate not in gates:
            gates.append(gate)
    return found


def target_health(pod: Json, name: str, reason: str = "", text: str = "") -> Json:
    """A pod with ready containers whose gate has this health; an empty reason means healthy."""
    found = copy.deepcopy(pod)
    others = [
        c for c in found["status"]["conditions"] if c["type"] not in ("Ready", "ContainersReady")
    ]
    state = "False" if reason else "True"
    ready = {"type": "Ready", "status": state}
    if reason:
        ready["reason"] = "ReadinessGatesNotReady"
    health = {"type": PREFIX + name, "status": state, "reason": reason, "message": text}
    containers = {"type": "ContainersReady", "status": "True"}
    found["status"]["conditions"] = [*others, ready, containers, health]
    return found


def create_target_group(annotations: dict[str, str]) -> Json:
    """The arguments of ``CreateTargetGroup`` about health checks, from an Ingress's annotations."""

    def number(name: str, default: int) -> int:
        return int(annotations.get(f"{ALB}/{name}", default))

    return {
        "TargetType": annotations.get(f"{ALB}/target-type", "instance"),
        "HealthCheckPath": annotations.get(f"{ALB}/healthcheck-path", "/"),
        "HealthCheckIntervalSeconds": number("healthcheck-interval-seconds", 15),
        "HealthCheckTimeoutSeconds": number("healthcheck-timeout-seconds", 5),
        "HealthyThresholdCount": number("healthy-threshold-count", 2),
        "UnhealthyThresholdCount": number("unhealthy-threshold-count", 2),
        "Matcher": {"HttpCode": annotations.get(f"{ALB}/success-codes", "200")},
    }


def attributes(annotations: dict[str, str], name: str) -> dict[str, str]:
    """An annotation of attributes: ``load-balancer-attributes`` or ``target-group-attributes``."""
    text = annotations.get(f"{ALB}/{name}", "")
    return dict(pair.strip().split("=", 1) for pair in text.split(",") if pair.strip())


def aws_refusal(group: Json) -> str:
    """Why AWS refuses ``CreateTargetGroup``; empty if it does not.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
    """
    interval, timeout = group["HealthCheckIntervalSeconds"], group["HealthCheckTimeoutSeconds"]
    if not 5 <= interval <= 300 or not 2 <= timeout <= 120:
        return "the interval is 5 to 300 s, the timeout 2 to 120 s"
    if timeout >= interval:
        return "Health check interval must be greater than the timeout"
    return ""
