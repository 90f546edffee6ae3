"""The python-data runtime: what prepares its fonts, and what links them in; without the image."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from scripts import images
from unit.builders import ROOT

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
    monkeypatch.setattr(runtime, "FONT_LISTS", str(lists))
    return runtime


def cache_of(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    fake = SimpleNamespace(get_cachedir=lambda: str(folder))
    monkeypatch.setitem(sys.modules, "matplotlib", fake)
    return folder


class TestFontLists:
    def test_they_are_linked_when_matplotlib_reads_its_font_list(
        self, hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        cache = cache_of(monkeypatch, tmp_path)
        assert sys.meta_path.index(hook.FontListLinker) == 0

        assert hook.FontListLinker.find_spec("matplotlib.pyplot") is None
        assert not (cache / "fontlist-v1.json").exists()
        assert hook.FontListLinker.find_spec("matplotlib.font_manager") is None

        assert (cache / "fontlist-v1.json").read_text() == "{}"
        assert hook.FontListLinker not in sys.meta_path

    def test_a_list_that_is_there_already_stays(
        self, hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        cache = cache_of(monkeypatch, tmp_path)
        (cache / "fontlist-v1.json").write_text("the user's own")

        hook.FontListLinker.find_spec("matplotlib.font_manager")

        assert (cache / "fontlist-v1.json").read_text() == "the user's own"

    def test_a_cache_folder_that_cannot_be_used_does_no_harm(
        self, hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        cache_of(monkeypatch, tmp_path / "absent")

        assert hook.FontListLinker.find_spec("matplotlib.font_manager") is None

    def test_both_files_mean_the_same_folder(self) -> None:
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
    def test_a_file_that_has_changed_stops_the_build(self, line: str) -> None:
        changed = re.sub(rf"^#+{re.escape(line)}:.*\n", "", MATPLOTLIBRC, flags=re.M)

        with pytest.raises(ValueError, match="matplotlibrc has 0 lines"):
            prepare.korean_defaults(changed)


def test_the_font_list_knows_fonts_of_other_systems_and_bold_ones() -> None:
    fonts = [
        {"name": "DejaVu Sans", "weight": 400, "fname": "a"},
        {"name": "NanumGothic", "weight": 700, "fname": "b"},
        {"name": "NanumMyeongjo", "weight": 600, "fname": "c"},
    ]
    found = {"ttflist": fonts, "defaultFamily": {"ttf": "DejaVu Sans", "afm": "Helvetica"}}

    made = prepare.korean_font_list(found)

    files = {font["name"]: font["fname"] for font in made["ttflist"]}
    assert files["Malgun Gothic"] == files["AppleGothic"] == "b"
    assert len(made["ttflist"]) == len(fonts) + len(prepare.ALIASES)
    assert [f["weight"] for f in made["ttflist"] if f["name"] == "NanumMyeongjo"] == [700]
    assert made["defaultFamily"] == {"ttf": "NanumGothic", "afm": "Helvetica"}
    assert fonts[2]["weight"] == 600


class TestImage:
    def test_it_is_tested_without_the_images_environment(self) -> None:
        assert images.BOOT_TESTS["python-data"][:2] == ["env", "-i"]
        assert set(images.RUNTIMES) <= set(images.IMAGES)

    def test_what_it_promises_is_locked(self) -> None:
        project = tomllib.loads((HOME / "pyproject.toml").read_text("utf-8"))["project"]
        lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
        wanted = {requirement.partition(">=")[0] for requirement in project["dependencies"]}

        assert wanted == {"pandas", "matplotlib", "openpyxl", "reportlab"}
        assert wanted <= {package["name"] for package in lock["package"]}
        assert project["name"] in lock["manifest"]["members"]
