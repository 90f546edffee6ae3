"""Names of ZIP entries as real programs write them: encodings and paths."""

import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogrid import archive
from nanogrid.archive.entry_names import read_name
from nanogrid.reasons import Reason
from support.hostile_archives import as_written, make, stored_entry, unicode_path

DOS, UNIX, NTFS = 0, 3, 10
UTF8 = 0x800


def one(name: bytes, **fields: object) -> bytes:
    return as_written(stored_entry(name, **fields))  # type: ignore[arg-type]


def read(data: bytes) -> tuple[list[str], str]:
    with archive.opened(io.BytesIO(data)) as opened:
        return opened.files, opened.guesses


def refusal(data: bytes) -> archive.ArchiveError:
    with pytest.raises(archive.ArchiveError) as caught:
        read(data)
    assert str(caught.value).isprintable()
    return caught.value


WESTERN = [
    *("Größe.txt", "Übersicht Straße.csv", "Müller & Söhne.pdf", "äöüÄÖÜß.py"),
    *("niño.py", "año_señal.csv", "¿Qué?.txt", "canción ñandú.mp3"),
    *("été à la plage.txt", "garçon_élève.csv", "naïve.py", "forêt-île-où.md"),
    *("Åse på tæppe.txt", "smörgås.csv", "½ año.txt", "£5 ±2°.csv"),
]
KOREAN = [
    *("매출.csv", "2026년 보고서.xlsx", "한글 폴더/데이터 파일.txt", "학습_데이터(최종).csv"),
    *("가나다라마바사.py", "①번 자료.txt", "서울→부산.csv", "大韓민국.txt", "이름㎏.csv"),
]


@pytest.mark.parametrize("name", WESTERN)
def test_western_names_are_read_as_cp437(name: str) -> None:
    files, guesses = read(one(name.encode("cp437")))
    assert files == [name]
    assert "1 name without the UTF-8 flag, read as cp437: " in guesses


@pytest.mark.parametrize("name", KOREAN)
@pytest.mark.parametrize("system", [DOS, UNIX, NTFS])
def test_korean_names_are_read_as_cp949(name: str, system: int) -> None:
    files, guesses = read(one(name.encode("cp949"), system=system))
    assert files == [name]
    assert "read as cp949: " in guesses


@pytest.mark.parametrize("name", [*WESTERN, *KOREAN, "日本語.txt", "отчёт.csv", "żółć.txt"])
def test_utf8_is_no_guess_with_or_without_the_flag(name: str) -> None:
    for flags in (0, UTF8):
        assert read(one(name.encode(), flags=flags, system=UNIX)) == ([name], "")


def test_one_archive_may_have_names_of_several_programs() -> None:
    written = {"Größe.txt": "cp437", "매출.csv": "cp949", "niño.py": "cp437", "été.md": "utf-8"}
    data = as_written(*(stored_entry(name.encode(code)) for name, code in written.items()))
    files, guesses = read(data)
    assert files == list(written)
    assert guesses == (
        "2 names without the UTF-8 flag, read as cp437: Größe.txt, niño.py; "
        "1 name without the UTF-8 flag, read as cp949: 매출.csv"
    )


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *((name, "cp850") for name in ("Größe.txt", "São Tomé.csv", "ÁÉÍÓÚ.txt", "Ação.py")),
        *((name, "cp852") for name in ("żółć.txt", "Łódź.csv", "zażółć gęślą jaźń.md")),
        *((name, "cp866") for name in ("отчёт.csv", "привет.txt", "тест.py", "Данные за год.csv")),
        *((name, "shift_jis") for name in ("日本語.txt", "売上データ.csv", "東京.py")),
        *((name, "big5") for name in ("測試檔案.txt", "銷售資料.csv")),
        *((name, "gbk") for name in ("測試檔案.txt", "囍.csv")),
        *((name, "cp1252") for name in ("œuvre.txt", "Größe.csv", "5€.txt", "niño.py")),
        *((name, "cp949") for name in ("똠방각하.txt", "뷁.csv", "펲시콜라.md")),
    ],
)
def test_no_other_name_becomes_korean(name: str, code: str) -> None:
    """They are not right, but they are read as the specification says, and this is reported."""
    raw = name.encode(code)
    files, guesses = read(one(raw))
    assert files == [raw.decode("cp437")]
    assert "read as cp437" in guesses
    assert not any("가" <= letter <= "힣" for letter in files[0])


@pytest.mark.parametrize(
    ("name", "code"),
    [("报告.txt", "gbk"), ("数据.csv", "gbk"), ("測試.txt", "big5"), ("ｶﾀｶﾅ.txt", "shift_jis")],
)
def test_bytes_that_are_also_korean_are_reported(name: str, code: str) -> None:
    """Nothing tells them from Korean: the note names the encoding, so that people see why."""
    raw = name.encode(code)
    files, guesses = read(one(raw))
    assert files == [raw.decode("cp949")]
    assert f"read as cp949: {files[0]}" in guesses


@pytest.mark.parametrize(
    "name", ["日本語.txt", "报告.txt", "отчёт.csv", "żółć.txt", "똠방각하.txt"]
)
@pytest.mark.parametrize("code", ["cp437", "shift_jis", "cp949", "cp866"])
def test_the_unicode_path_field_wins(name: str, code: str) -> None:
    raw = name.encode(code, "replace").replace(b"?", b"\x81")
    other = b"\x99\x99\x04\x00four"  # a field of another kind comes first
    data = one(raw, extra=other + unicode_path(raw, name))
    assert read(data) == ([name], "")


@pytest.mark.parametrize(
    "extra",
    [
        unicode_path(b"another", "evil.py"),
        unicode_path("Größe".encode("cp437"), "evil.py", version=2),
        unicode_path("Größe".encode("cp437"), ""),
    ],
)
@pytest.mark.filterwarnings("ignore:Empty unicode path extra field")  # of zipfile since 3.13
def test_a_unicode_path_field_of_another_name_does_not_count(extra: bytes) -> None:
    files, _ = read(one("Größe".encode("cp437"), extra=extra))
    assert files == ["Größe"]


@pytest.mark.parametrize("name", ["../evil.py", "/etc/passwd", "a\x1bb", "a/../../b"])
def test_a_unicode_path_field_is_checked_like_a_name(name: str) -> None:
    raw = b"\x81.py"
    assert refusal(one(raw, extra=unicode_path(raw, name))).reason is Reason.UNSAFE_ARCHIVE


@settings(max_examples=300)
@given(st.binary(min_size=1, max_size=40))
def test_every_name_is_read_without_loss(raw: bytes) -> None:
    info = zipfile.ZipInfo("x")
    info.orig_filename = raw.decode("cp437")
    text, guess = read_name(info)
    codes = {None: "utf-8", "cp437": "cp437", "cp949": "euc_kr"}
    assert text.encode(codes[guess]) == raw


PATHS = {
    b"dir//file": "dir/file",
    b"a/./b.py": "a/b.py",
    b"./main.py": "main.py",
    b".//a///b/././c": "a/b/c",
    b"a/.hidden/..x/y..": "a/.hidden/..x/y..",
}


@pytest.mark.parametrize(("raw", "path"), PATHS.items())
def test_paths_are_normalised(raw: bytes, path: str) -> None:
    assert read(one(raw, system=UNIX))[0] == [path]


def test_the_top_folder_itself_and_its_parts() -> None:
    names = (b"./", b"./lib/", b"./lib//x.py", b"./main.py", b"empty/./")
    data = as_written(*(stored_entry(name, system=UNIX) for name in names))
    with archive.opened(io.BytesIO(data)) as opened:
        assert [(one.path, one.is_dir) for one in opened.entries] == [
            ("lib", True),
            ("lib/x.py", False),
            ("main.py", False),
            ("empty", True),
        ]


def test_backslashes_of_windows_programs_are_separators() -> None:
    names = (b"app\\", b"app\\main.py", b"app\\lib\\x.py")
    data = as_written(*(stored_entry(name, system=DOS) for name in names))
    with archive.opened(io.BytesIO(data)) as opened:
        assert opened.files == ["app/main.py", "app/lib/x.py"]
        opened.locate(archive.entry_point_of(["python3", "main.py"]))
        assert opened.files == ["main.py", "lib/x.py"]


@pytest.mark.parametrize(
    ("raw", "system", "fault"),
    [
        (b"..\\main.py", DOS, "'..'"),
        (b"\\windows\\x", DOS, "is absolute"),
        (b"C:\\x", DOS, "drive letter"),
        (b"app\\main.py", UNIX, "backslash"),
        ("表.txt".encode("shift_jis"), DOS, "backslash"),
        (b".", UNIX, "empty"),
        (b"//", UNIX, "absolute"),
        (b"a//b/../../..", UNIX, "'..'"),
    ],
)
def test_unsafe_paths_stay_unsafe(raw: bytes, system: int, fault: str) -> None:
    error = refusal(one(raw, system=system))
    assert error.reason is Reason.UNSAFE_ARCHIVE
    assert fault in str(error)


def test_case_matters_and_equal_paths_are_refused() -> None:
    files, _ = read(make(("README", b"1"), ("readme", b"2"), ("Lib/x", b""), ("lib/x", b"")))
    assert files == ["README", "readme", "Lib/x", "lib/x"]
    double = as_written(*(stored_entry(name) for name in (b"a/b", b"a//b")))
    assert "exists twice" in str(refusal(double))


def test_a_colon_is_no_drive_after_other_characters() -> None:
    names = ("10:30.txt", "1:2.csv", "매:출.csv")
    assert read(make(*((name, b"") for name in names)))[0] == list(names)


def test_a_folder_of_unix_without_a_slash_is_a_folder() -> None:
    data = as_written(
        stored_entry(b"lib", system=UNIX, attr=0o040755 << 16), stored_entry(b"main.py")
    )
    with archive.opened(io.BytesIO(data)) as opened:
        assert [one.is_dir for one in opened.entries] == [True, False]
