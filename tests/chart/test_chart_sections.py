"""Values without a section, as ``helm upgrade --reuse-values`` from an older chart has them."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import yaml

from nanogrid.codegen.chart_checks import sections
from nanogrid.types import Json
from support.helm import CHART, DEV, helm

VALUES: Json = yaml.safe_load((Path(CHART) / "values.yaml").read_text(encoding="utf-8"))
SCHEMA: Json = json.loads((Path(CHART) / "values.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A copy of the chart, whose values a test replaces by those of an older one."""
    return shutil.copytree(CHART, tmp_path / "chart")


@pytest.mark.parametrize("path", list(sections(VALUES, SCHEMA)))
def test_values_of_an_older_chart_name_the_option_that_helps(older: Path, path: str) -> None:
    values = copy.deepcopy(VALUES)
    *above, last = path.split(".")
    parent = values
    for key in above:
        parent = parent[key]
    del parent[last]
    (older / "values.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    given = {} if path.startswith("devServices") else DEV

    refused = helm("template", "nanogrid", str(older), values=given)

    assert refused.returncode != 0
    assert f"the values have no {path}: " in refused.stderr
    assert "--reset-then-reuse-values" in refused.stderr


def test_values_of_the_user_may_be_null() -> None:
    assert {"metrics", "metrics.cloudwatch", "tracing"} <= set(sections(VALUES, SCHEMA))
    for null in ({"global": None}, {"operator": {"resources": None}}, {"commonLabels": None}):
        done = helm("template", "nanogrid", CHART, values=DEV | null)
        assert done.returncode == 0, done.stderr
