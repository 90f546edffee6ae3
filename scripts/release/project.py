"""What a release consists of, and where it is published."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Distributions of Python, and their folders.
PACKAGES = {
    "nanogrid": "sdk",
    "nanogrid-operator": "operator",
    "nanogrid-executor": "executor-image",
    "nanogrid-gateway": "gateway",
}
# The images that users run, by their names in scripts/images.py.
IMAGES = ("operator", "executor", "gateway", "python-data")
ARCHITECTURES = ("amd64", "arm64")
CHART = "helm/nanogrid-operator"
CHART_NAME = "nanogrid-operator"


@dataclass(frozen=True, slots=True)
class Project:
    """The settings ``[tool.nanogrid.release]`` of pyproject.toml.

    Attributes:
        registry: where images are pushed; the chart is in the folder ``charts`` of it.
        repository: the URL of the source repository.
        baseline: the commit that upgrade tests start from as long as there is no tag.
    """

    registry: str
    repository: str
    baseline: str

    def image(self, name: str, version: str) -> str:
        """The reference of a published image."""
        return f"{self.registry}/nanogrid-{name}:{version}"

    @property
    def charts(self) -> str:
        """What ``helm push`` gets; helm adds the chart's name."""
        return f"oci://{self.registry}/charts"

    @property
    def chart(self) -> str:
        """What ``helm install`` gets."""
        return f"{self.charts}/{CHART_NAME}"

    @property
    def owner(self) -> str:
        """OWNER/NAME of the source repository."""
        return "/".join(self.repository.rstrip("/").split("/")[-2:])


def load(root: Path = ROOT) -> Project:
    """Read the settings of a tree."""
    data = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return Project(**data["tool"]["nanogrid"]["release"])


def version(root: Path = ROOT) -> str:
    """The version in a tree: that of development, until a release sets its own in a copy."""
    data = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return str(data["project"]["version"])
