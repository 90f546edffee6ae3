"""The columns of `kubectl get` of each kind; those with a priority appear with `-o wide`."""

from typing import Any

JOB_COLUMNS: list[dict[str, Any]] = [
    {"name": "PHASE", "type": "string", "jsonPath": ".status.phase"},
    {"name": "REASON", "type": "string", "jsonPath": ".status.reason"},
    {"name": "EXIT", "type": "integer", "jsonPath": ".status.result.exitCode"},
    {"name": "DURATION", "type": "string", "jsonPath": ".status.duration"},
    {"name": "PEAK", "type": "string", "jsonPath": ".status.peakMemory"},
    {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "POD", "type": "string", "jsonPath": ".status.podName", "priority": 1},
    {"name": "FILES", "type": "integer", "jsonPath": ".status.inputs.files", "priority": 1},
    {"name": "REQUEST", "type": "string", "jsonPath": ".status.requestId", "priority": 1},
    {"name": "MEMORY", "type": "string", "jsonPath": ".status.memory", "priority": 1},
    {"name": "START", "type": "string", "jsonPath": ".status.start", "priority": 1},
]

FUNCTION_COLUMNS: list[dict[str, Any]] = [
    {"name": "NEWEST", "type": "integer", "jsonPath": ".spec.versions[-1:].version"},
    {"name": "RUNS", "type": "integer", "jsonPath": ".status.runs"},
    {"name": "LAST", "type": "string", "jsonPath": ".status.lastRun.status"},
    {"name": "RECOMMENDED", "type": "string", "jsonPath": ".status.recommendation.memory"},
    {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "LIMIT", "type": "string", "jsonPath": ".spec.resources.limits.memory", "priority": 1},
    {"name": "REASON", "type": "string", "jsonPath": ".status.lastRun.reason", "priority": 1},
    {"name": "LAST RUN", "type": "date", "jsonPath": ".status.lastRun.time", "priority": 1},
    {"name": "RUNTIME", "type": "string", "jsonPath": ".spec.runtime.image", "priority": 1},
]

POOL_COLUMNS: list[dict[str, Any]] = [
    {"name": "READY", "type": "integer", "jsonPath": ".status.ready"},
    {"name": "TARGET", "type": "integer", "jsonPath": ".status.target"},
    {"name": "STARTING", "type": "integer", "jsonPath": ".status.starting"},
    {"name": "CLAIMED", "type": "integer", "jsonPath": ".status.claimed"},
    {"name": "CLAIMS", "type": "integer", "jsonPath": ".status.claims"},
    {"name": "MISSES", "type": "integer", "jsonPath": ".status.misses"},
    {"name": "P50", "type": "integer", "jsonPath": ".status.claimP50Millis"},
    {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "IMAGE", "type": "string", "jsonPath": ".spec.runtime.image", "priority": 1},
]

TENANT_COLUMNS: list[dict[str, Any]] = [
    {"name": "ROOT", "type": "string", "jsonPath": ".spec.root"},
    {"name": "BUCKET", "type": "string", "jsonPath": ".spec.bucket"},
    {"name": "JOBS", "type": "integer", "jsonPath": ".spec.limits.jobs"},
    {"name": "WEIGHT", "type": "integer", "jsonPath": ".spec.weight"},
    {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "EGRESS", "type": "string", "jsonPath": ".spec.network.egress", "priority": 1},
]
