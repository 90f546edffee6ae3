"""The page of all metrics, from what the installed packages declare."""

from nanogrid.codegen.metrics_docs import metrics_markdown
from nanogrid.metrics.registry import KubernetesRequests, Metrics, all_declared


def a_component(name: str, *, requests: bool = True) -> Metrics:
    metrics = Metrics(name)
    if requests:
        KubernetesRequests(metrics)
    metrics.histogram(f"nanogrid_{name}_wait_seconds", "Waits | long.", (1, 2), ["state"])
    return metrics


def test_a_row_has_type_labels_unit_and_help() -> None:
    page = metrics_markdown([a_component("one")])

    row = "| `nanogrid_one_wait_seconds` | histogram | `state` | seconds | Waits \\| long. |"
    assert row in page.splitlines()


def test_what_all_components_have_is_there_once() -> None:
    page = metrics_markdown([a_component("one"), a_component("two")])

    sections = [line for line in page.splitlines() if line.startswith("## ")]
    assert sections == ["## All components", "## one", "## two"]
    assert page.count("nanogrid_kubernetes_requests_total") == 1


def test_what_one_component_does_not_have_is_with_the_others() -> None:
    page = metrics_markdown([a_component("one"), a_component("two", requests=False)])

    assert page.index("nanogrid_kubernetes_requests_total") > page.index("## one")
    assert page.count("nanogrid_build_info") == 1


def test_the_installed_packages_declare_their_metrics() -> None:
    found = {metrics.component: metrics for metrics in all_declared()}

    assert "operator" in found
    assert "nanogrid_jobs" in [one.name for one in found["operator"].described]


def test_names_are_not_used_for_two_things() -> None:
    """A name means the same in each component: type, labels and help."""
    seen = {}
    for metrics in all_declared():
        names = [one.name for one in metrics.described]
        assert len(set(names)) == len(names)
        for one in metrics.described:
            assert seen.setdefault(one.name, one) == one
