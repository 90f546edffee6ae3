"""The python-data runtime: prepares its fonts and links them in; without the image."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from scripts import images
from support.builders import ROOT

HOME = ROOT / "executor-image/runtimes/python-data"
MATPLOTLIBRC = """\
##backend: Agg
#font.family:  sans-serif
#font.size:    10.0
#font.serif:      DejaVu Serif, serif
#font.sans-serif: DejaVu Sans, sans-serif
#font.monospace:  DejaVu Sans Mono, monospace
#axes.unicode_minus: True  # a comment
"""


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HOME / f"image/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


prepare: Any = module("prepare")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    runtime = module("nanogrid_runtime")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "fontlist-v1.json").write_text("{}")
    linker = runtime.FontListLinker(str(lists))
    sys.meta_path.insert(0, linker)
    return linker


def cache_of(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    fake = SimpleNamespace(get_cachedir=lambda: str(folder))
    monkeypatch.setitem(sys.modules, "matplotlib", fake)
    return folder


class TestFontLists:
    def test_the_import_of_the_module_adds_the_hook(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
        runtime = module("nanogrid_runtime")

        assert isinstance(sys.meta_path[0], runtime.FontListLinker)
        assert sys.meta_path[0].font_lists == runtime.FONT_LISTS

    def test_they_are_linked_when_matplotlib_loads_its_font_list(
        self, hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        cache = cache_of(monkeypatch, tmp_path)
        assert sys.meta_path.index(hook) == 0

        assert hook.find_spec("matplotlib.pyplot") is None
        assert not (cache / "fontlist-v1.json").exists()
        assert hook.find_spec("matplotlib.font_manager") is None

        assert (cache / "fontlist-v1.json").read_text() == "{}"
        assert hook not in sys.meta_path

    def test_an_existing_list_is_kept(
        self, hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        cache = cache_of(monkeypatch, tmp_path)
        (cache / "fontlist-v1.json").write_text("the user's own")

        hook.find_spec("matplotlib.font_manager")

        assert (cache / "fontlist-v1.json").read_text() == "the user's own"

    def test_an_unusable_cache_folder_raises_no_error(
        self, hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        cache_of(monkeypatch, tmp_path / "absent")

        assert hook.find_spec("matplotlib.font_manager") is None

    def test_both_files_name_the_same_folder(self) -> None:
        text = (HOME / "image/nanogrid_runtime.py").read_text("utf-8")

        assert f'FONT_LISTS = "{prepare.FONT_LISTS}"' in text


class TestMatplotlibDefaults:
    def test_every_generic_family_starts_with_a_korean_font(self) -> None:
        assert prepare.korean_defaults(MATPLOTLIBRC).splitlines() == [
            "backend: Agg",
            "#font.family:  sans-serif, DejaVu Sans",
            "#font.size:    10.0",
            "#font.serif:      NanumMyeongjo, DejaVu Serif, serif",
            "#font.sans-serif: NanumGothic, DejaVu Sans, sans-serif",
            "#font.monospace:  NanumGothicCoding, DejaVu Sans Mono, monospace",
            "#axes.unicode_minus: False  # a comment",
        ]

    @pytest.mark.parametrize("line", ["font.serif", "backend", "axes.unicode_minus"])
    def test_a_changed_file_fails_the_build(self, line: str) -> None:
        changed = re.sub(rf"^#+{re.escape(line)}:.*\n", "", MATPLOTLIBRC, flags=re.M)

        with pytest.raises(ValueError, match="matplotlibrc has 0 lines"):
            prepare.korean_defaults(changed)


def test_the_font_list_has_fonts_of_other_systems_and_bold_ones() -> None:
    fonts = [
        {"name": "DejaVu Sans", "weight": 400, "fname": "a"},
        {"name": "NanumGothic", "weight": 700, "fname": "b"},
        {"name": "NanumMyeongjo", "weight": 600, "fname": "c"},
    ]
    afm = [{"name": name, "fname": name, "weight": 400} for name in "zxy"]
    family = {"ttf": "DejaVu Sans", "afm": "Helvetica"}
    found = {"ttflist": fonts, "afmlist": afm, "defaultFamily": family}

    made = prepare.korean_font_list(found)

    # The list of matplotlib has another order each time; the image has one.
    shuffled = {**found, "ttflist": fonts[::-1], "afmlist": afm[::-1]}
    assert prepare.korean_font_list(shuffled) == made

    files = {font["name"]: font["fname"] for font in made["ttflist"]}
    assert files["Malgun Gothic"] == files["AppleGothic"] == "b"
    assert len(made["ttflist"]) == len(fonts) + len(prepare.ALIASES)
    assert [f["weight"] for f in made["ttflist"] if f["name"] == "NanumMyeongjo"] == [700]
    assert made["defaultFamily"] == {"ttf": "NanumGothic", "afm": "Helvetica"}
    assert fonts[2]["weight"] == 600


class TestImage:
    def test_the_boot_test_runs_without_the_images_environment(self) -> None:
        assert images.BOOT_TESTS["python-data"][:2] == ["env", "-i"]
        assert set(images.RUNTIMES) <= set(images.IMAGES)

    def test_its_packages_are_locked(self) -> None:
        project = tomllib.loads((HOME / "pyproject.toml").read_text("utf-8"))["project"]
        lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
        required = {requirement.partition(">=")[0] for requirement in project["dependencies"]}

        assert required == {"pandas", "matplotlib", "openpyxl", "reportlab"}
        assert required <= {package["name"] for package in lock["package"]}
        assert project["name"] in lock["manifest"]["members"]
