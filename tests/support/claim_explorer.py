"""All schedules of a claim: each call to the API server may fail, and others act in between.

One job names a pool with two waiting pods. One or two operators act for it. At each call of a claim
a schedule chooses who goes on, and what fails. :func:`schedules` enumerates the choices: it runs a
schedule, notes how many choices each step had, and goes back to the last step that has another one.
"""

import asyncio
import contextlib
import copy
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from nanogrid import names, pod_identity, wire
from nanogrid.kube.conventions import KubeError
from nanogrid.metrics.registry import Metrics
from nanogrid.types import Json
from nanogrid_operator.metrics import OperatorMetrics
from nanogrid_operator.model.claim import CLAIM_SUFFIX, ClaimProofs
from support.builders import (
    CREATED,
    CREATED_TEXT,
    JOB_UID,
    POD_NAME,
    RESULT_KEY_MASTER,
    a_job_body,
    a_pod_body,
    a_report,
    a_result,
    merge_patch,
    running,
)
from support.operator_fakes import JOBS, PODS, POOLS, FakeKube, FakePublisher, FakeResults
from support.operator_world import World
from support.pool_world import a_pool_body, pool_settings

TOKENS = ("0000000a", "0000000b")
OTHER_JOB = "another-job"
SESSION_KEY = "0123456789abcdef0123456789abcdef"
ROUNDS = 12  # of the time after the schedule, in which nothing fails any more
PASSES = 6  # of one operator for the job, while calls fail


class Choice(NamedTuple):
    """What happens at a step: an operator's call goes on, or this fault comes."""

    operator: int
    fault: str = ""


# No answer, with or without the write; the operator dies before or after the write; another job
# takes the pod, the pod is deleted, or it is about to end.
FAULTS = ("lost", "written", "dies", "dies after", "taken", "gone", "drained")
_WITH_POD = ("taken", "gone", "drained")


@dataclass(slots=True)
class Call:
    """A call of an operator that waits for its turn."""

    text: str
    pod: str  # that it is about; empty if it is not known
    turn: asyncio.Future[str]


class Cluster(FakeKube):
    """An API server that notes which pods were ever the attempt's."""

    def __init__(self) -> None:
        super().__init__()
        self.belonged: dict[str, str] = {}  # the uids of pods, with their names

    def _store(self, key: str, body: Json) -> Json:
        stored = super()._store(key, body)
        if key.startswith(PODS) and pod_identity.job_uid(stored) == JOB_UID:
            self.belonged[stored["metadata"]["uid"]] = stored["metadata"]["name"]
        return stored


class Connection(FakeKube):
    """An operator's connection to the cluster: calls of a claim wait for their turn."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self.__dict__ |= {k: v for k, v in cluster.__dict__.items() if k != "version"}
        self.cluster = cluster
        self.call: Call | None = None
        self.gated = False

    async def list(self, path: str, **query: Any) -> tuple[list[Json], str]:
        return await self.cluster.list(path, **query)

    async def get(self, path: str, name: str) -> Json:
        return await self._call("GET", path, name, lambda: self.cluster.get(path, name))

    async def create(self, path: str, body: Json) -> Json:
        name = body["metadata"]["name"]
        pod = (body.get("related") or {}).get("name", "")
        if path != PODS and not name.endswith(CLAIM_SUFFIX):
            return await self.cluster.create(path, body)
        return await self._call("POST", path, name, lambda: self.cluster.create(path, body), pod)

    async def replace(self, path: str, name: str, body: Json) -> Json:
        pod = (body.get("related") or {}).get("name", "")
        return await self._call(
            "PUT", path, name, lambda: self.cluster.replace(path, name, body), pod
        )

    async def patch(self, path: str, name: str, body: Json) -> Json:
        return await self._call("PATCH", path, name, lambda: self.cluster.patch(path, name, body))

    async def patch_status(self, path: str, name: str, body: Json) -> Json:
        return await self.cluster.patch_status(path, name, body)

    async def delete(self, path: str, name: str, *args: Any, **more: Any) -> Json | None:
        return await self.cluster.delete(path, name, *args, **more)

    async def _call(
        self,
        verb: str,
        path: str,
        name: str,
        act: Callable[[], Coroutine[Any, Any, Json]],
        pod: str = "",
    ) -> Json:
        if not self.gated:
            return await act()
        turn = asyncio.get_running_loop().create_future()
        self.call = Call(f"{verb} {name}", name if path == PODS else pod, turn)
        try:
            fault = await turn
        finally:
            self.call = None
        if fault == "lost":
            raise KubeError(0, "TimeoutError", "no answer")
        answer = await act()
        if fault == "written":
            raise KubeError(0, "TimeoutError", "no answer")
        if fault == "dies after":
            raise asyncio.CancelledError
        return answer


@cache
def metrics() -> OperatorMetrics:
    """Building them takes longer than a schedule."""
    return OperatorMetrics(Metrics("operator"))


class Operator(World):
    """One of several operators of the same cluster."""

    def __init__(self, explorer: "Explorer") -> None:
        self.explorer = explorer
        self.settings = pool_settings(session_key=SESSION_KEY)
        self.cluster = explorer.cluster
        self.kube = self.connection = Connection(explorer.cluster)
        self.redis, self.s3 = explorer.redis, explorer.s3
        self.now, self.first_webhook_pause, self.tracing = explorer.now, 1.0, None
        self.requests = contextlib.ExitStack()
        self.start()

    def new_metrics(self) -> OperatorMetrics:
        return metrics()

    async def list_everything(self) -> None:
        """Begin to lead: LIST, and recover pods that were missed."""
        await self.parts.resync.first()

    def asked_by(self, pod: Json) -> None:
        """The agent of a pod asks this operator for its task."""
        uid = pod["metadata"]["uid"]
        task = self.parts.claims.task_of(uid)
        if task is not None:
            self.explorer.note_task(uid, task)
        elif self.parts.pools.waiting_pod(uid) is not None:
            future = self.requests.enter_context(self.parts.agents.request(uid))
            future.add_done_callback(lambda done: self._answered(uid, done))

    def _answered(self, uid: str, done: asyncio.Future[wire.HandOver]) -> None:
        if not done.cancelled():
            self.explorer.note_task(uid, done.result())

    async def work(self, seconds: float = 1.0) -> None:
        """Reconcile the job until a pass succeeds."""
        self.connection.gated = True
        for _ in range(PASSES):
            try:
                await self.parts.reconciler.reconcile(JOB_UID)
                return
            except KubeError:
                continue

    def watch(self) -> None:
        """The watches bring all objects, and what is gone."""
        self.cache.put_job(copy.deepcopy(self.cluster.objects[f"{JOBS}/sales"]))
        for name, pod in self.explorer.pods().items():
            self.parts.handlers.on_pod("MODIFIED", copy.deepcopy(pod))
            self.explorer.seen[name] = pod
        for name, pod in self.explorer.seen.items():
            if name not in self.explorer.pods():
                self.parts.handlers.on_pod("DELETED", copy.deepcopy(pod))

    async def act(self) -> None:
        """One pass in which nothing fails."""
        self.connection.gated = False
        self.now = self.explorer.now
        with contextlib.suppress(KubeError):
            await self.reconcile()

    def stop(self) -> None:
        """The process ends, and with it its connections."""
        self.requests.close()


@dataclass(slots=True)
class Explorer:
    """One schedule; ``choices`` are its first ones, then everything goes on in order."""

    operators: int
    faults: int
    switches: int
    agents: tuple[int, ...]  # for each pod: the operator that its agent asks
    choices: list[Choice]
    mode: str = names.MODE_BATCH  # of the job and the pool
    options: list[list[Choice]] = field(default_factory=list)  # at each step
    history: list[str] = field(default_factory=list)
    now: float = CREATED + 1
    cluster: Cluster = field(default_factory=Cluster)
    redis: FakePublisher = field(default_factory=FakePublisher)
    s3: FakeResults = field(default_factory=FakeResults)
    running: list[Operator] = field(default_factory=list)
    seen: dict[str, Json] = field(default_factory=dict)
    tasks: dict[str, wire.HandOver] = field(default_factory=dict)  # by the pod's uid
    last: int = 0

    async def run(self) -> None:
        """Run the schedule, and then everything to its end."""
        self._prepare()
        works: list[asyncio.Future[None]] = [
            asyncio.ensure_future(op.work()) for op in self.running
        ]
        while True:
            await self._settle(works)
            waiting = [i for i, op in enumerate(self.running) if op.connection.call is not None]
            if not waiting:
                break
            await self._step(waiting, works)
        for work in works:
            if not work.cancelled():
                work.result()
        await self._to_the_end()
        for operator in self.running:
            operator.stop()

    def pods(self) -> dict[str, Json]:
        """The pods that exist, by name."""
        found = {k: o for k, o in self.cluster.objects.items() if k.startswith(f"{PODS}/")}
        return {key.rpartition("/")[2]: pod for key, pod in found.items()}

    def note_task(self, uid: str, task: wire.HandOver) -> None:
        """The agent of a pod has got a task."""
        pod = next((p for p in self.pods().values() if p["metadata"]["uid"] == uid), None)
        if pod is not None:
            proofs = ClaimProofs(RESULT_KEY_MASTER)
            assert proofs.holds(pod, JOB_UID, task.task.attempt), "a pod without a claim has a task"
        assert uid in self.cluster.belonged, "a pod that was never the job's has its task"
        assert task.task.uid == JOB_UID
        if self.mode == names.MODE_SESSION:
            assert task.session_token == names.session_token(SESSION_KEY.encode(), JOB_UID)
            assert self.secrets(), "users cannot read the token of a session that has begun"
            if pod is not None:
                assert pod["metadata"]["labels"][names.LABEL_MODE] == names.MODE_SESSION
        self.tasks[uid] = task

    def secrets(self) -> list[str]:
        """The names of the Secrets with tokens of sessions."""
        return [k.rpartition("/")[2] for k in self.cluster.objects if "/secrets/" in k]

    def _prepare(self) -> None:
        self.cluster.clock = lambda: self.now
        self.cluster.put(JOBS, _job(self.mode))
        self.cluster.put(POOLS, a_pool_body(minReady=2, mode=self.mode))
        for body in _waiting_pods(self.mode):
            self.cluster.put(PODS, body)
            self.seen[body["metadata"]["name"]] = body
        for _ in range(self.operators):
            self._start()
        for number, body in enumerate(self.pods().values()):
            self.running[self.agents[number]].asked_by(body)

    def _start(self) -> Operator:
        operator = Operator(self)
        operator.parts.claims.templates._known |= _templates(self.mode)
        operator.cache.put_job(copy.deepcopy(self.cluster.objects[f"{JOBS}/sales"]))
        operator.parts.pools.put_pool(copy.deepcopy(self.cluster.objects[f"{POOLS}/warm"]))
        for body in self.pods().values():
            operator.parts.handlers.on_pod("ADDED", copy.deepcopy(body))
        self.running.append(operator)
        return operator

    async def _settle(self, works: list[asyncio.Future[None]]) -> None:
        """Wait until each operator has ended its work, or waits with a call."""
        for _ in range(200):
            busy = [
                work
                for work, operator in zip(works, self.running, strict=True)
                if not work.done() and operator.connection.call is None
            ]
            if not busy:
                return
            await asyncio.sleep(0)
        raise AssertionError("an operator waits for nothing")

    async def _step(self, waiting: list[int], works: list[asyncio.Future[None]]) -> None:
        options = self._options(waiting)
        step = len(self.options)
        self.options.append(options)
        choice = self.choices[step] if step < len(self.choices) else options[0]
        operator = self.running[choice.operator]
        call = operator.connection.call
        assert call is not None
        self.history.append(f"{choice.operator}: {call.text} {choice.fault}")
        operator.connection.call = None
        self.switches -= choice.operator != self.last and self.last in waiting
        self.last = choice.operator
        self.faults -= bool(choice.fault)
        if choice.fault in _WITH_POD:
            self._harm(call.pod, choice.fault)
        if choice.fault == "dies":
            works[choice.operator].cancel()
        else:
            call.turn.set_result(choice.fault)
        if choice.fault in ("dies", "dies after"):
            with contextlib.suppress(asyncio.CancelledError):
                await works[choice.operator]
            await self._replace(choice.operator, works)

    def _options(self, waiting: list[int]) -> list[Choice]:
        """What can happen now; the first choice goes on with the same operator."""
        order = sorted(waiting, key=lambda i: i != self.last)
        if self.switches <= 0 and self.last in waiting:
            order = [self.last]
        found = [Choice(i) for i in order]
        if self.faults > 0:
            for i in order:
                call = self.running[i].connection.call
                assert call is not None
                unclaimed = call.pod in self.pods() and call.pod != POD_NAME
                found += [Choice(i, f) for f in FAULTS if unclaimed or f not in _WITH_POD]
        return found

    def _harm(self, pod: str, fault: str) -> None:
        key, body = f"{PODS}/{pod}", self.cluster.objects[f"{PODS}/{pod}"]
        if fault == "gone":
            self.cluster._remove(key)
        elif fault == "drained":
            body["metadata"]["deletionTimestamp"] = CREATED_TEXT
            self.cluster.touch(PODS, pod)
        elif not pod_identity.job_uid(body):
            claim = {names.LABEL_JOB_UID: OTHER_JOB, names.LABEL_ATTEMPT: "0"}
            owner = {"kind": names.KIND, "name": "other", "uid": OTHER_JOB}
            taken = {"metadata": {"annotations": claim, "ownerReferences": [owner]}}
            self.cluster._store(key, merge_patch(body, taken))

    async def _replace(self, number: int, works: list[asyncio.Future[None]]) -> None:
        """The operator has died, and another one starts: it lists everything."""
        self.running[number].stop()
        others = self.running[number + 1 :]
        del self.running[number:]
        operator = Operator(self)
        self.running += [operator, *others]
        operator.parts.claims.templates._known |= _templates(self.mode)
        await operator.list_everything()
        for body in self.pods().values():
            operator.asked_by(body)
        works[number] = asyncio.ensure_future(operator.work())

    async def _to_the_end(self) -> None:
        """Nothing fails any more: the job must end, or have started."""
        for _ in range(ROUNDS):
            if self.status.get("completionTime"):
                break
            self.now += 40
            self._kubelet()
            for operator in self.running:
                operator.watch()
                await operator.act()
            self._agents()
            await asyncio.sleep(0)

    def _kubelet(self) -> None:
        """Pods that are deleted end, and the attempt's pod runs when it has its task."""
        for name, pod in self.pods().items():
            meta = pod["metadata"]
            if meta.get("deletionTimestamp"):
                self.seen[name] = pod
                self.cluster._remove(f"{PODS}/{name}")
            elif meta["uid"] in self.tasks or name == POD_NAME:
                state = a_pod_body(phase="Running", agent=running(), sandbox=running())
                pod["status"] = state["status"]
                self.cluster.touch(PODS, name)
                for operator in self.running:
                    operator.push(a_report(a_result()))

    def _agents(self) -> None:
        """The agents of the pods without a task ask again, each operator in turn."""
        for name, pod in self.pods().items():
            if name != POD_NAME and pod["metadata"]["uid"] not in self.tasks:
                self.running[0].asked_by(pod)

    @property
    def status(self) -> Json:
        """The job's."""
        found: Json = self.cluster.objects[f"{JOBS}/sales"].get("status") or {}
        return found

    def check(self) -> None:
        """What holds after each schedule."""
        belonged = self.cluster.belonged
        assert len(belonged) <= 1, f"the attempt has the pods {sorted(belonged.values())}"
        end = (self.status.get("phase"), self.status.get("reason"))
        assert end in (("Succeeded", "Completed"), ("Failed", "PodLost")), f"the job is {end}"
        if end[0] == "Succeeded":
            assert belonged
            assert set(self.tasks) == {u for u, name in belonged.items() if name != POD_NAME}


def schedules(
    *,
    operators: int = 1,
    faults: int = 0,
    switches: int = 0,
    agents: tuple[int, ...] = (0, 0),
    mode: str = names.MODE_BATCH,
) -> Iterator[Explorer]:
    """Explorers of all schedules, before they run.

    Args:
        operators: That act at the same time.
        faults: The most in a schedule.
        switches: How often at most the other operator goes on instead.
        agents: For each pod, the operator that its agent asks.
        mode: Of the job and the pool.
    """
    choices: list[Choice] | None = []
    while choices is not None:
        explorer = Explorer(operators, faults, switches, agents, choices, mode)
        yield explorer
        choices = _next(explorer, choices)


def _next(explorer: Explorer, choices: list[Choice]) -> list[Choice] | None:
    """The first choices of the next schedule; None: all have run."""
    made = [
        choices[i] if i < len(choices) else options[0] for i, options in enumerate(explorer.options)
    ]
    while made:
        options = explorer.options[len(made) - 1]
        after = options.index(made.pop()) + 1
        if after < len(options):
            return [*made, options[after]]
    return None


def _job(mode: str) -> Json:
    body = a_job_body(poolRef={"name": "warm"}, mode=mode)
    if mode == names.MODE_SESSION:
        del body["spec"]["code"]
    return body


def _operator_alone(mode: str) -> Operator:
    explorer = Explorer(1, 0, 0, (0, 0), [], mode)
    operator = Operator(explorer)
    operator.parts.pools.put_pool(a_pool_body(minReady=2, mode=mode))
    return operator


@cache
def _templates(mode: str) -> dict[str, Any]:
    """Building a pool's template takes longer than a schedule."""
    operator = _operator_alone(mode)
    pool = operator.parts.pools.pool("team-a/warm")
    assert pool is not None
    operator.parts.claims.templates.of(pool)
    return operator.parts.claims.templates._known


@cache
def _made(token: str, mode: str) -> Json:
    operator = _operator_alone(mode)
    pool = operator.parts.pools.pool("team-a/warm")
    assert pool is not None
    body = operator.parts.claims.templates.pod(pool, token)
    version = str(50 + TOKENS.index(token))
    body["metadata"] |= {
        "uid": f"pod-{token}", "resourceVersion": version, "creationTimestamp": CREATED_TEXT
    }  # fmt: skip
    kept = ("name", "resources")  # copies of all the rest take longer than a schedule
    containers = [{key: c.get(key) for key in kept} for c in body["spec"]["containers"]]
    return {**body, "spec": {"containers": containers}}


def _waiting_pods(mode: str) -> list[Json]:
    return [copy.deepcopy(_made(token, mode)) for token in TOKENS]
