"""CONTRIBUTING.md and docs/architecture.md name only paths, types and targets that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CONTRIBUTING = Path("CONTRIBUTING.md")
ARCHITECTURE = Path("docs/architecture.md")
PAGES = [CONTRIBUTING, ARCHITECTURE]
# The folder of a package below the root, and the package.
PACKAGES = {path.parts[0]: path for path in sorted(Path().glob("*/src/*")) if path.is_dir()}
SUFFIXES = (".py", ".md", ".toml", ".json", ".html")
# Paths in a pod, in S3 and of what commands make, which are not in the repository.
ELSEWHERE = {"output/", "build/e2e/", "dist/", "results/{requestId}/result.json"}
MODULE = re.compile(r"^[a-z_]+(/[a-z_]+)+$")


def read(page: Path) -> str:
    """A page without its code blocks and diagrams."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)


def spans(text: str) -> list[str]:
    """The code spans of a text."""
    return re.findall(r"`([^`]+)`", text)


def sections(page: Path) -> dict[str, str]:
    """Heading and text of each section that has a package in its heading, by package."""
    parts = re.split(r"^## (.+)\n", read(page), flags=re.M)[1:]
    texts = dict(zip(parts[::2], parts[1::2], strict=True))
    return {name: text for head, text in texts.items() for name in spans(head)}


def paths(text: str) -> list[str]:
    """The code spans of a text that are paths of the repository."""
    found = [span for span in spans(text) if "/" in span or span.endswith(SUFFIXES)]
    return [s for s in found if " " not in s and not s.startswith("/") and s not in ELSEWHERE]


def missing(text: str) -> list[str]:
    """The paths of a text that do not exist.

    A path begins at the root, or it continues the package or the folder of the path before it.
    """
    package, folder, wrong = Path(), Path(), []
    for path in paths(text):
        top, abbreviated, rest = path.partition("/…/")
        whole = f"{PACKAGES.get(top, top)}/{rest}" if abbreviated else path
        found = [hit for base in (Path(), package, folder) for hit in base.glob(whole.rstrip("/"))]
        if not found:
            wrong.append(path)
            continue
        package = next((p for p in PACKAGES.values() if found[0].is_relative_to(p)), package)
        folder = found[0] if found[0].is_dir() else found[0].parent
    return wrong


def rows() -> Iterator[tuple[str, list[Path], str]]:
    """Each row of the packages' tables: the package, the row's folders and modules, the row."""
    for package, text in sections(ARCHITECTURE).items():
        for row in re.findall(r"^\| `.+$", text, flags=re.M):
            places = [Path(package, name) for name in spans(row.split("|")[1])]
            places = [one for p in places for one in (p, p.with_suffix(".py")) if one.exists()]
            yield package, places, row


def source(places: list[Path]) -> str:
    """All Python code of these folders and modules."""
    files = [f for p in places for f in ([p] if p.is_file() else sorted(p.rglob("*.py")))]
    return "\n".join(f.read_text(encoding="utf-8") for f in files if f.suffix == ".py")


def test_every_package_is_known() -> None:
    assert set(PACKAGES) == {"operator", "executor-image", "gateway", "sdk"}
    assert list(sections(ARCHITECTURE)) == [
        str(PACKAGES[top]) for top in ("operator", "executor-image", "gateway", "sdk")
    ]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_path_exists(page: Path) -> None:
    assert len(paths(read(page))) > 15
    assert missing(read(page)) == []


def test_a_path_that_does_not_exist_is_found() -> None:
    text = "`operator/…/decision/decide.py`, `outcome.py`, `model/facts.py`, `gone.py`, `sdk/…/x/`"

    assert missing(text) == ["gone.py", "sdk/…/x/"]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)", read(page))

    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_make_target_exists() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", Path("Makefile").read_text(encoding="utf-8"), re.M)
    lines = [span for page in PAGES for span in spans(read(page)) if span.startswith("make ")]
    named = {word for line in lines for word in re.sub(r"\w+='.*'", "", line).split()[1:]}

    assert len(named) > 8
    assert named - set(targets) == set()


def test_every_name_in_a_recipe_is_in_the_code() -> None:
    """Types, functions and constants: with an underscore, in CamelCase or in capitals."""
    recipes = read(CONTRIBUTING).partition("\n## Recipes\n")[2]
    words = set(re.findall(r"\w+", source([*PACKAGES.values(), Path("tests")])))
    names = {span.partition("(")[0] for span in spans(recipes)}
    names = {n for n in names if re.fullmatch(r"\w*[A-Z]\w*|\w+_\w+", n)} - {"NAME"}

    assert len(names) > 30
    assert sorted(names - words) == []


@pytest.mark.parametrize("package", PACKAGES.values(), ids=str)
def test_every_folder_is_in_the_tour(package: Path) -> None:
    named = spans(sections(ARCHITECTURE)[str(package)])
    folders = [init.parent.relative_to(package) for init in sorted(package.rglob("*/__init__.py"))]

    assert folders
    assert [str(folder) for folder in folders if str(folder) not in named] == []


def test_every_type_of_a_table_is_a_class_of_its_folder() -> None:
    types = [
        (name, places)
        for _, places, row in rows()
        for name in spans(row)
        if re.fullmatch(r"([A-Z][a-z]+)+", name)
    ]

    assert len(types) > 40
    assert [n for n, p in types if not re.search(rf"^class {n}\b", source(p), re.M)] == []


def test_every_module_of_the_diagrams_exists() -> None:
    diagrams = re.findall(r"^```mermaid\n(.*?)^```$", ARCHITECTURE.read_text("utf-8"), re.S | re.M)
    words = {word.strip(".,:;()") for diagram in diagrams for word in diagram.split()}
    modules = sorted(word for word in words if MODULE.fullmatch(word))
    bases = [*PACKAGES.values(), *(package.parent for package in PACKAGES.values())]
    short = {"operator/": "nanogrid_operator/"}

    def exists(module: str) -> bool:
        for name, package in short.items():
            module = module.replace(name, package)
        return any((b / module).is_dir() or (b / f"{module}.py").is_file() for b in bases)

    assert len(modules) > 15
    assert [module for module in modules if not exists(module)] == []
