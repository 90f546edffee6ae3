"""The web page over all namespaces on the cluster: two teams, an administrator, the rights."""

import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from nanogrid import names
from support.gateways import forwarded
from support.kubectl import Namespace, eventually, inline, kubectl, kubectl_json
from support.release import IN_RELEASE, RELEASE, RELEASE_NAMESPACE

pytestmark = [pytest.mark.alone, pytest.mark.security]

CHART = "helm/nanogrid-operator"
TIMEOUT_SECONDS = 60
LABELS = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=gateway"
PERSON = "person"
CODE = """\
import os
os.makedirs("output", exist_ok=True)
open("output/words.txt", "w").write("file of {word}")
print("output of {word}")
"""


@dataclass(frozen=True)
class Team:
    """A namespace with one finished run, and a token that reads this namespace only."""

    namespace: Namespace
    token: str
    run: str

    @property
    def page(self) -> str:
        """The page of the run."""
        return f"/web/ns/{self.namespace.name}/runs/{self.run}"


@dataclass(frozen=True)
class Page:
    """An answer."""

    status: int
    text: str


def get(url: str, token: str, path: str) -> Page:
    """A page as a caller with this token gets it."""
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return Page(answer.status, answer.read().decode())
    except urllib.error.HTTPError as e:
        return Page(e.code, e.read().decode())


def set_all_namespaces(value: bool) -> None:
    """Upgrade the release with its own values but this one."""
    setting = f"gateway.web.allNamespaces={str(value).lower()}"
    command = ["helm", "upgrade", RELEASE, CHART, *IN_RELEASE, "--reuse-values", "--set", setting]
    done = subprocess.run([*command, "--wait", "--timeout", "240s"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    # A port-forward could choose a replica that stops.
    eventually("the old replicas are gone", _none_stops, 180)


def _none_stops() -> bool:
    pods = kubectl_json(*IN_RELEASE, "get", "pods", "-l", LABELS)["items"]
    return all("deletionTimestamp" not in pod["metadata"] for pod in pods)


@contextmanager
def a_team() -> Iterator[Team]:
    """A namespace of its own; its person has the chart's role for readers."""
    namespace = Namespace(f"e2e-team-{uuid.uuid4().hex[:8]}")
    kubectl("create", "namespace", namespace.name)
    try:
        namespace.wait_for_account()
        namespace.kubectl("create", "serviceaccount", PERSON)
        account = f"--serviceaccount={namespace.name}:{PERSON}"
        role = f"--clusterrole={RELEASE_NAMESPACE}:{RELEASE}-view"
        namespace.kubectl("create", "rolebinding", PERSON, role, account)
        token = namespace.kubectl("create", "token", PERSON, "--duration=1h").strip()
        run = f"run-of-{namespace.name}"
        status = namespace.run(inline(run, CODE.format(word=namespace.name)))
        assert status["phase"] == "Succeeded", status
        yield Team(namespace, token, run)
    finally:
        kubectl("delete", "namespace", namespace.name, "--wait=false")


@pytest.fixture(scope="module")
def everywhere(cluster: None) -> Iterator[str]:
    """The URL of the gateway while its page shows all namespaces."""
    set_all_namespaces(True)
    try:
        with forwarded(f"svc/{RELEASE}-gateway") as url:
            yield url
    finally:
        set_all_namespaces(False)


@pytest.fixture(scope="module")
def teams(everywhere: str) -> Iterator[tuple[Team, Team]]:
    """Two teams."""
    with ExitStack() as stack:
        yield stack.enter_context(a_team()), stack.enter_context(a_team())


@pytest.fixture
def administrator(teams: tuple[Team, Team]) -> Iterator[str]:
    """A token that reads the jobs of all namespaces."""
    name = f"e2e-reader-{uuid.uuid4().hex[:8]}"
    kubectl(*IN_RELEASE, "create", "serviceaccount", name)
    account = f"--serviceaccount={RELEASE_NAMESPACE}:{name}"
    try:
        kubectl(
            "create",
            "clusterrolebinding",
            name,
            f"--clusterrole={RELEASE_NAMESPACE}:{RELEASE}-view",
            account,
        )
        yield kubectl(*IN_RELEASE, "create", "token", name, "--duration=1h").strip()
    finally:
        kubectl("delete", "clusterrolebinding", name, "--ignore-not-found")
        kubectl(*IN_RELEASE, "delete", "serviceaccount", name, "--ignore-not-found")


def test_each_team_sees_its_own_runs_with_output_and_files(
    everywhere: str, teams: tuple[Team, Team]
) -> None:
    for team, other in (teams, teams[::-1]):
        word = team.namespace.name

        def listed(team: Team = team) -> bool:
            return team.run in get(everywhere, team.token, "/web/all/").text

        eventually("the list of all namespaces has the run", listed)
        for path in ("/web/all/", "/web/all/queue", "/web/all/functions", f"/web/ns/{word}/"):
            page = get(everywhere, team.token, path)
            assert page.status == 200, path
            assert other.namespace.name not in page.text, path
        shown = get(everywhere, team.token, team.page)
        assert f"output of {word}" in shown.text
        file = get(everywhere, team.token, f"{team.page}/files/words.txt")
        assert (file.status, file.text) == (200, f"file of {word}")


def test_a_page_of_another_team_does_not_say_what_exists(
    everywhere: str, teams: tuple[Team, Team]
) -> None:
    first, second = teams
    missing = "e2e-team-missing"
    for path in ("", "/logs", "/files/words.txt"):
        refused = get(everywhere, first.token, second.page + path)
        nowhere = get(everywhere, first.token, f"/web/ns/{missing}/runs/{second.run}{path}")
        assert (refused.status, nowhere.status) == (403, 403)
        assert refused.text.replace(second.namespace.name, "NS") == nowhere.text.replace(
            missing, "NS"
        ).replace(second.namespace.name, "NS")
        assert get(everywhere, second.token, second.page + path).status == 200
    assert get(everywhere, first.token, "/web/").status == 403  # the gateway's own namespace


def test_an_administrator_sees_all_namespaces(
    everywhere: str, teams: tuple[Team, Team], administrator: str
) -> None:
    def listed() -> bool:
        page = get(everywhere, administrator, "/web/all/?q=run-of-e2e-team")
        return all(team.page in page.text for team in teams)

    eventually("the list has the runs of both teams", listed)
    for team in teams:
        assert get(everywhere, administrator, team.page).status == 200


def test_the_gateway_reads_other_namespaces_and_changes_nothing_there(
    teams: tuple[Team, Team],
) -> None:
    namespace, account = teams[0].namespace.name, f"{RELEASE_NAMESPACE}:{RELEASE}-gateway"

    def may(verb: str, resource: str) -> bool:
        user = f"--as=system:serviceaccount:{account}"
        asked = ("auth", "can-i", verb, resource, "-n", namespace, user)
        done = subprocess.run(["kubectl", *asked], capture_output=True, text=True)
        return done.stdout.strip() == "yes"

    jobs, functions = (f"{k}.{names.GROUP}" for k in (names.PLURAL, names.FUNCTION_PLURAL))
    assert all(may(verb, jobs) for verb in ("get", "list", "watch"))
    assert all(may(verb, functions) for verb in ("get", "list"))
    for kind in (jobs, functions):
        assert not any(may(verb, kind) for verb in ("create", "patch", "update", "delete"))
    assert not any(may("get", kind) for kind in ("secrets", "configmaps", "pods"))
