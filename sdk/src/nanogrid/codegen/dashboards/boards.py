"""The panels of the four dashboards: one table."""

from typing import Final

from nanogrid.codegen.dashboards.grafana import Dashboard, Panel, Query, Row, Variable
from nanogrid.codegen.dashboards.queries import (
    IN_NAMESPACE,
    INSTALLATION,
    NAMESPACE,
    SCOPE,
    gauge,
    quantile,
    quantiles,
    rate,
    share_within,
    total,
)

_PHASES: Final = ("queue", "start", "sync", "execution", "upload", "delivery")
_FAILED: Final = f'{IN_NAMESPACE},phase="Failed"'
_READY: Final = f'{IN_NAMESPACE},state="ready"'
_FUNCTION: Final = f'{SCOPE},namespace="$namespace",function="$function"'
_RUNS: Final = f"sum(increase(nanogrid_function_runs_total{{{_FUNCTION}}}[$__range]))"
_GOOD_RUNS: Final = (
    f'sum(increase(nanogrid_function_runs_total{{{_FUNCTION},phase="Succeeded"}}[$__range]))'
)

OVERVIEW: Final = Dashboard(
    "overview",
    "NanoGrid / Overview",
    "Whether jobs run, and whether their results arrive.",
    (INSTALLATION, NAMESPACE),
    (
        Row(
            "Now",
            (
                Panel(
                    "Leaders",
                    "short",
                    "Operators that lead. Exactly 1 in each installation.",
                    [total("nanogrid_leader")],
                    "stat",
                ),
                Panel(
                    "Running jobs",
                    "short",
                    "Jobs and sessions whose code runs.",
                    [gauge("nanogrid_jobs", "", f'{IN_NAMESPACE},phase="Running"', "namespace")],
                    "stat",
                ),
                Panel(
                    "Queued jobs",
                    "short",
                    "Jobs that wait for room, without a pod.",
                    [gauge("nanogrid_queue_length", "", IN_NAMESPACE, "namespace")],
                    "stat",
                ),
                Panel(
                    "Pending deliveries",
                    "short",
                    "Results that Redis, S3 or a webhook does not have yet. 0 is usual.",
                    [gauge("nanogrid_deliveries_pending", "", over="target")],
                    "stat",
                ),
                Panel(
                    "Delivered within 1 s",
                    "percentunit",
                    "The share of results that are delivered within 1 s of the end of their code. "
                    "The objective is 99 %.",
                    [share_within("nanogrid_job_delivery_seconds", "1.0")],
                    "stat",
                ),
                Panel(
                    "Dependencies",
                    "short",
                    "What the operator needs: 1 if its check passes, 0 if it fails.",
                    [gauge("nanogrid_dependency_up", "dependency")],
                    "stat",
                ),
            ),
        ),
        Row(
            "Jobs",
            (
                Panel(
                    "Jobs by phase",
                    "short",
                    "All jobs that exist, also those that have ended.",
                    [gauge("nanogrid_jobs", "phase", IN_NAMESPACE, "namespace")],
                ),
                Panel(
                    "Ended jobs per second",
                    "ops",
                    "Jobs that ended, by phase and mode.",
                    [rate("nanogrid_jobs_finished_total", "mode, phase", IN_NAMESPACE)],
                ),
                Panel(
                    "Failures per second by reason",
                    "ops",
                    "Why jobs fail: docs/reasons.md has the meaning of each reason.",
                    [rate("nanogrid_jobs_finished_total", "reason", _FAILED)],
                ),
                Panel(
                    "Queue by namespace",
                    "short",
                    "Jobs that wait for room, without a pod.",
                    [gauge("nanogrid_queue_length", "namespace", IN_NAMESPACE)],
                ),
                Panel(
                    "Longest wait by namespace",
                    "s",
                    "How long the oldest queued job of each namespace has waited.",
                    [gauge("nanogrid_queue_oldest_wait_seconds", "namespace", IN_NAMESPACE)],
                ),
                Panel(
                    "Repeated attempts per second",
                    "ops",
                    "Attempts that failed and are repeated, by reason.",
                    [rate("nanogrid_job_retries_total", "reason", IN_NAMESPACE)],
                ),
            ),
        ),
        Row(
            "Time",
            (
                Panel(
                    "From creation to end",
                    "s",
                    "All parts of a job: queue, start, inputs, code, outputs, delivery.",
                    quantiles("nanogrid_job_total_seconds"),
                ),
                Panel(
                    "Parts of a job, 90 % are faster",
                    "s",
                    "Which part of a job takes long.",
                    [
                        quantile(0.9, f"nanogrid_job_{part}_seconds", "", legend=part)
                        for part in _PHASES
                    ],
                ),
                Panel(
                    "Longest in a phase",
                    "s",
                    "How long the job that is longest in a phase has been in it.",
                    [gauge("nanogrid_jobs_oldest_phase_seconds", "phase")],
                ),
            ),
        ),
        Row(
            "Pools",
            (
                Panel(
                    "Pods of pools by state",
                    "short",
                    "Pods that wait for a job, that start, and that a job has claimed.",
                    [gauge("nanogrid_pool_pods", "state", IN_NAMESPACE, "namespace, pool")],
                ),
                Panel(
                    "Ready pods by pool",
                    "short",
                    "Less than the target for a moment after a claim, or while pods cannot start.",
                    [
                        gauge("nanogrid_pool_pods", "namespace, pool", _READY)._replace(
                            legend="{{namespace}}/{{pool}} ready"
                        ),
                        gauge("nanogrid_pool_target", "namespace, pool", IN_NAMESPACE)._replace(
                            legend="{{namespace}}/{{pool}} target"
                        ),
                    ],
                ),
                Panel(
                    "Starts per second",
                    "ops",
                    "Attempts that got a pod: Warm from a pool, Cold created for them.",
                    [rate("nanogrid_jobs_started_total", "start", IN_NAMESPACE)],
                ),
                Panel(
                    "Misses per second by reason",
                    "ops",
                    "Attempts that have a pool and start cold. The status of the job says why.",
                    [rate("nanogrid_pool_misses_total", "reason", IN_NAMESPACE)],
                ),
                Panel(
                    "Claims per second by pool",
                    "ops",
                    "Attempts that took a pod of a pool.",
                    [rate("nanogrid_pool_claims_total", "namespace, pool", IN_NAMESPACE)],
                ),
                Panel(
                    "Time of a claim",
                    "s",
                    "From the choice of a pod to the hand-over of the task. Two writes to the API "
                    "server.",
                    quantiles("nanogrid_pool_claim_seconds", IN_NAMESPACE),
                ),
            ),
        ),
        Row(
            "Delivery",
            (
                Panel(
                    "From the end of the code to the delivery",
                    "s",
                    "The objective is 1 s for 99 %.",
                    quantiles("nanogrid_job_delivery_seconds"),
                ),
                Panel(
                    "Pending deliveries by target",
                    "short",
                    "Results that a target does not have yet.",
                    [gauge("nanogrid_deliveries_pending", "target")],
                ),
                Panel(
                    "Age of the oldest pending delivery",
                    "s",
                    "Grows while a target is away.",
                    [gauge("nanogrid_deliveries_oldest_pending_seconds", "target")],
                ),
                Panel(
                    "Attempts per second",
                    "ops",
                    "Attempts to deliver a result, by target and outcome.",
                    [rate("nanogrid_delivery_attempts_total", "target, outcome")],
                ),
                Panel(
                    "Time of an attempt, 99 % are faster",
                    "s",
                    "How fast the targets answer.",
                    [quantile(0.99, "nanogrid_delivery_attempt_seconds", "target")],
                ),
            ),
        ),
        Row(
            "Gateway",
            (
                Panel(
                    "Requests per second by code",
                    "reqps",
                    "Answers of the gateway, by HTTP status.",
                    [rate("nanogrid_gateway_request_seconds_count", "code")],
                ),
                Panel(
                    "Time of a request, 99 % are faster",
                    "s",
                    "By route. POST /run waits for the end of its run.",
                    [quantile(0.99, "nanogrid_gateway_request_seconds", "route")],
                ),
                Panel(
                    "Requests in flight, runs that are waited for",
                    "short",
                    "The limit of waiting runs is gateway.maxWaiting in each replica.",
                    [
                        total("nanogrid_gateway_requests_in_flight")._replace(legend="requests"),
                        total("nanogrid_gateway_runs_waiting")._replace(legend="waiting runs"),
                    ],
                ),
                Panel(
                    "Wait for a run",
                    "s",
                    "How long POST /run waits for the result.",
                    quantiles("nanogrid_gateway_run_wait_seconds"),
                ),
                Panel(
                    "Refused requests per second",
                    "reqps",
                    "Requests that the gateway refused, by reason.",
                    [rate("nanogrid_gateway_refused_total", "reason")],
                ),
            ),
        ),
    ),
)

FUNCTION: Final = Dashboard(
    "function",
    "NanoGrid / Function",
    "The runs of one function. The first 500 functions of an installation have series of their "
    "own; _other has the rest.",
    (
        INSTALLATION,
        Variable(
            "namespace",
            "Namespace",
            f"label_values(nanogrid_function_runs_total{{{SCOPE}}}, namespace)",
            multiple=False,
        ),
        Variable(
            "function",
            "Function",
            f'label_values(nanogrid_function_runs_total{{{SCOPE},namespace="$namespace"}}, '
            "function)",
            multiple=False,
        ),
    ),
    (
        Row(
            "Now",
            (
                Panel(
                    "Runs",
                    "short",
                    "Runs that ended in the chosen time.",
                    [Query(_RUNS, "runs")],
                    "stat",
                ),
                Panel(
                    "Success",
                    "percentunit",
                    "The share of runs that succeeded.",
                    [Query(f"{_GOOD_RUNS} / {_RUNS}", "ratio")],
                    "stat",
                ),
            ),
        ),
        Row(
            "Runs",
            (
                Panel(
                    "Runs per second",
                    "ops",
                    "Runs that ended, by phase.",
                    [rate("nanogrid_function_runs_total", "phase", _FUNCTION)],
                ),
                Panel(
                    "Duration of the code",
                    "s",
                    "Without queue, start, inputs and outputs.",
                    quantiles("nanogrid_function_execution_seconds", _FUNCTION),
                ),
                Panel(
                    "Peak memory",
                    "bytes",
                    "Of all processes of a run. Compare it with the function's memory limit.",
                    quantiles("nanogrid_function_peak_memory_bytes", _FUNCTION),
                ),
            ),
        ),
    ),
)

SESSIONS: Final = Dashboard(
    "sessions",
    "NanoGrid / Sessions",
    "Sessions, and the router through which clients reach them.",
    (INSTALLATION, NAMESPACE),
    (
        Row(
            "Sessions",
            (
                Panel(
                    "Sessions by state",
                    "short",
                    "Sessions that exist, by state.",
                    [gauge("nanogrid_sessions", "state", IN_NAMESPACE, "namespace")],
                ),
                Panel(
                    "Sessions by namespace",
                    "short",
                    "Who uses sessions.",
                    [gauge("nanogrid_sessions", "namespace", IN_NAMESPACE, "state")],
                ),
                Panel(
                    "Start of a session",
                    "s",
                    "From the first request of a client to the first that the session takes.",
                    quantiles("nanogrid_router_start_wait_seconds"),
                ),
            ),
        ),
        Row(
            "Router",
            (
                Panel(
                    "Requests per second by code",
                    "reqps",
                    "Answers through the router, by HTTP status.",
                    [rate("nanogrid_router_request_seconds_count", "code")],
                ),
                Panel(
                    "Time to the head of the answer",
                    "s",
                    "An execution without a stream answers at its end.",
                    quantiles("nanogrid_router_request_seconds"),
                ),
                Panel(
                    "Time by route, 99 % are faster",
                    "s",
                    "Time to the head of the answer, by route.",
                    [quantile(0.99, "nanogrid_router_request_seconds", "route")],
                ),
                Panel(
                    "Requests in flight and streams",
                    "short",
                    "Answers that are being forwarded.",
                    [
                        total("nanogrid_router_requests_in_flight")._replace(legend="requests"),
                        total("nanogrid_router_streams")._replace(legend="streams"),
                    ],
                ),
                Panel(
                    "Known sessions by replica",
                    "short",
                    "All replicas know the same sessions.",
                    [total("nanogrid_router_sessions", "pod")],
                ),
                Panel(
                    "Sessions not reached, per second",
                    "reqps",
                    "Requests that the pod of a session did not answer, by reason.",
                    [rate("nanogrid_router_upstream_errors_total", "reason")],
                ),
            ),
        ),
    ),
)

OPERATOR: Final = Dashboard(
    "operator",
    "NanoGrid / Operator",
    "The operator's own work, and the processes of all components.",
    (INSTALLATION,),
    (
        Row(
            "Leader",
            (
                Panel(
                    "Leader",
                    "short",
                    "1 for the operator that leads, 0 for one that stands by.",
                    [gauge("nanogrid_leader", "pod")],
                ),
                Panel(
                    "Checks",
                    "short",
                    "1 if the check of a dependency passes, 0 if it fails.",
                    [gauge("nanogrid_dependency_up", "dependency, pod")],
                ),
                Panel(
                    "Versions",
                    "short",
                    "Running processes by component and version.",
                    [
                        Query(
                            f"count by (component, version) (nanogrid_build_info{{{SCOPE}}})",
                            "{{component}} {{version}}",
                        )
                    ],
                ),
            ),
        ),
        Row(
            "Work queue",
            (
                Panel(
                    "Depth",
                    "short",
                    "Jobs that wait for a worker.",
                    [gauge("nanogrid_workqueue_depth", "pod")],
                ),
                Panel(
                    "Entries per second",
                    "ops",
                    "Jobs that enter the queue, and those that enter it again after an error.",
                    [
                        rate("nanogrid_workqueue_adds_total", "")._replace(legend="entries"),
                        rate("nanogrid_workqueue_retries_total", "")._replace(legend="retries"),
                    ],
                ),
                Panel(
                    "Wait for a worker",
                    "s",
                    "From the time when a job is due until a worker takes it.",
                    quantiles("nanogrid_workqueue_wait_seconds"),
                ),
                Panel(
                    "Time of a worker",
                    "s",
                    "One look at one job.",
                    quantiles("nanogrid_workqueue_work_seconds"),
                ),
                Panel(
                    "Longest work now",
                    "s",
                    "How long the oldest work that has not ended takes.",
                    [gauge("nanogrid_workqueue_longest_running_seconds", "pod")],
                ),
                Panel(
                    "Delay of the watch",
                    "s",
                    "From the creation of a job until the operator knows it. The API server gives "
                    "the time in whole seconds.",
                    quantiles("nanogrid_watch_lag_seconds"),
                ),
            ),
        ),
        Row(
            "Kubernetes API",
            (
                Panel(
                    "Requests per second by component",
                    "reqps",
                    "Requests to the API server.",
                    [rate("nanogrid_kubernetes_requests_total", "component, verb")],
                ),
                Panel(
                    "Answers per second by code",
                    "reqps",
                    "The code error means that there was no answer. 404 and 409 are usual.",
                    [rate("nanogrid_kubernetes_requests_total", "component, code")],
                ),
                Panel(
                    "Time of a request, 99 % are faster",
                    "s",
                    "Time to an answer, by component and verb.",
                    [quantile(0.99, "nanogrid_kubernetes_request_seconds", "component, verb")],
                ),
                Panel(
                    "Reports of agents per second",
                    "ops",
                    "Reports that the operator accepted, forwarded to the leader, or refused.",
                    [rate("nanogrid_reports_total", "outcome")],
                ),
            ),
        ),
        Row(
            "Egress proxy",
            (
                Panel(
                    "Open connections",
                    "short",
                    "Connections of sandboxes.",
                    [total("nanogrid_egress_connections_open", "pod")],
                ),
                Panel(
                    "Connections per second",
                    "ops",
                    "Connections of sandboxes, by outcome.",
                    [rate("nanogrid_egress_connections_total", "outcome")],
                ),
                Panel(
                    "Refused per second",
                    "ops",
                    "Requests that got no tunnel, by reason.",
                    [rate("nanogrid_egress_refused_total", "reason")],
                ),
                Panel(
                    "Bytes per second",
                    "Bps",
                    "Through tunnels, by direction.",
                    [rate("nanogrid_egress_bytes_total", "direction")],
                ),
            ),
        ),
        Row(
            "Processes",
            (
                Panel(
                    "CPU",
                    "short",
                    "Used cores of each pod.",
                    [rate("process_cpu_seconds_total", "component, pod")],
                ),
                Panel(
                    "Memory",
                    "bytes",
                    "Resident memory of each pod.",
                    [total("process_resident_memory_bytes", "component, pod")],
                ),
                Panel(
                    "Open files",
                    "short",
                    "File descriptors, with connections.",
                    [total("process_open_fds", "component, pod")],
                ),
            ),
        ),
    ),
)

DASHBOARDS: Final = (OVERVIEW, FUNCTION, SESSIONS, OPERATOR)
