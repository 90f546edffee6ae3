"""Every YAML file of the checkout can be read; the chart's templates are rendered elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FOLDERS = ("crds", "examples", "helm", "tests")
FILES = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.yaml"))
    if "templates" not in path.parts
]


class Loader(yaml.SafeLoader):
    """Also reads the short tags of CloudFormation, such as !Sub."""


def _short_tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    return f"{suffix} {node.value}"


Loader.add_multi_constructor("!", _short_tag)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_yaml_file_can_be_read(path: Path) -> None:
    assert any(yaml.load_all(path.read_text(encoding="utf-8"), Loader))
