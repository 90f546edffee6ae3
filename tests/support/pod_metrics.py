"""The metrics of all pods of a component in the cluster."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from scripts.devaccess import RELEASE
from support.kubectl import kubectl
from support.release import IN_RELEASE
from support.scraping import metrics_of, scrape


class ComponentMetrics:
    """All replicas of a component, by the URLs of their metrics."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series that have these labels, of all replicas."""
        return sum(scrape(url).total(name, **labels) for url in self._urls)


@contextmanager
def component_metrics(component: str) -> Iterator[ComponentMetrics]:
    """The metrics of ``gateway``, ``router`` or ``egress``; no pods is an error."""
    label = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={component}"
    running = ("-l", label, "--field-selector=status.phase=Running")
    pods = kubectl(*IN_RELEASE, "get", "pods", *running, "-o", "name").split()
    assert pods, f"no pods of {component}"
    with ExitStack() as stack:
        names = (pod.removeprefix("pod/") for pod in pods)
        yield ComponentMetrics([stack.enter_context(metrics_of(name)) for name in names])
