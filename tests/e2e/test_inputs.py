"""Inputs and code archives: what reaches the code, and what is refused with which reason."""

import json

import pytest

from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.dev_objects import put_object, read_object
from support.hostile_archives import as_written, stored_entry
from support.kubectl import Namespace, condition, inline, job, zip_of

TREE = """
import hashlib, json, os
found = {}
for folder, _, files in os.walk('/app/data'):
    for name in files:
        path = os.path.join(folder, name)
        found[os.path.relpath(path, '/app/data')] = open(path, 'rb').read().decode()
print(json.dumps(found, ensure_ascii=False, sort_keys=True))
"""


def test_inputs_of_every_kind_in_one_job(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    base = namespace.key(f"t/{request_id}")
    put_object(dev, f"{base}/one 파일.csv", "하나".encode())
    put_object(dev, f"{base}/tree/a.txt", b"a")
    put_object(dev, f"{base}/tree/깊은 폴더/b.txt", b"b")
    put_object(dev, f"{base}/tree/folder/", b"")
    put_object(dev, f"{base}/archive.zip", zip_of(z__txt="z"))
    inputs = [
        {"name": "one", "s3": {"key": f"{base}/one 파일.csv"}},
        {"name": "tree", "s3": {"prefix": f"{base}/tree/"}, "mountPath": "/app/data/tree"},
        {
            "name": "zip",
            "s3": {"key": f"{base}/archive.zip"},
            "unpack": True,
            "mountPath": "/app/data/zip",
        },
        {"name": "maybe", "s3": {"prefix": f"{base}/none/"}, "required": False},
    ]

    status = namespace.run(inline("together", TREE, requestId=request_id, inputs=inputs))

    assert status["phase"] == "Succeeded", status["message"]
    assert json.loads(status["result"]["stdout"]) == {
        "one 파일.csv": "하나",
        "tree/a.txt": "a",
        "tree/깊은 폴더/b.txt": "b",
        "zip/z.txt": "z",
    }
    assert status["inputs"]["files"] == 4
    manifest_uri = status["inputs"]["manifest"]
    key = namespace.key(names.manifest_object(request_id))
    assert manifest_uri == f"s3://{dev.bucket}/{key}"
    manifest = json.loads(read_object(dev, key))
    paths = {e["path"] for e in manifest["entries"]}
    assert "/app/data/tree/깊은 폴더/b.txt" in paths


def test_many_small_files(namespace: Namespace, dev: DevAccess, request_id: str) -> None:
    count = 300
    prefix = namespace.key(f"t/{request_id}/")
    for number in range(count):
        put_object(dev, f"{prefix}{number:04}.txt", b"x" * 512)
    code = "import os; print(len(os.listdir('data')))"

    status = namespace.run(inline("many", code, inputs=[{"name": "a", "s3": {"prefix": prefix}}]))

    assert status["result"]["stdout"] == f"{count}\n"
    assert (status["inputs"]["files"], status["inputs"]["bytes"]) == (count, count * 512)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"maxBytes": 3}, "InputTooLarge"),
        ({"minFiles": 2}, "InputNotFound"),
        ({"s3": {"key": "{key}", "sha256": "0" * 64}}, "ChecksumMismatch"),
        ({"unpack": True}, "CorruptArchive"),
    ],
    ids=["too large", "too few", "wrong sha256", "no archive"],
)
def test_input_that_breaks_its_rule_has_its_reason(
    namespace: Namespace, dev: DevAccess, request_id: str, fields: Json, reason: str
) -> None:
    key = put_object(dev, namespace.key(f"t/{request_id}/data.csv"), b"four")
    entry: Json = {"name": "a", "s3": {"key": key}} | fields
    entry["s3"] = entry["s3"] | {"key": key}

    status = namespace.run(inline("asked", "print('ran')", inputs=[entry]))

    assert (status["phase"], status["reason"]) == ("Failed", reason)
    assert status["result"]["stdout"] == ""
    assert condition(status, "InputsSynced")["reason"] == reason


def test_two_inputs_with_one_path_conflict(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    folder = namespace.key(f"t/{request_id}")
    keys = [put_object(dev, f"{folder}/{n}/same.csv", b"x") for n in (1, 2)]

    status = namespace.run(
        inline(
            "clash",
            "print('ran')",
            inputs=[{"name": f"i{n}", "s3": {"key": key}} for n, key in enumerate(keys)],
        )
    )

    assert (status["phase"], status["reason"]) == ("Failed", "PathConflict")
    assert "same.csv" in status["message"]


@pytest.mark.parametrize(
    ("files", "reason", "message"),
    [
        ({"proj/main.py": "print('ran')"}, "Completed", ""),
        ({"proj/app.py": "print('ran')"}, "EntrypointNotFound", "app.py"),
        ({"../main.py": "print('ran')"}, "UnsafeArchive", "../main.py"),
        ({"main.py": "print('ran')", "MAIN.py": "print(2)"}, "Completed", ""),
        ({"proj/main.py": "print('ran')", "Thumbs.db": "", "desktop.ini": ""}, "Completed", ""),
        ({"proj//lib/./x": "", "./proj/main.py": "print('ran')"}, "Completed", ""),
        ({"proj/main\u0007.py": "print('ran')"}, "UnsafeArchive", "control character U+0007"),
    ],
    ids=["in a folder", "nowhere", "outside", "case", "metadata", "dots", "control"],
)
def test_code_archive(
    namespace: Namespace,
    dev: DevAccess,
    request_id: str,
    files: dict[str, str],
    reason: str,
    message: str,
) -> None:
    key = put_object(dev, namespace.key(f"t/{request_id}/v1.zip"), zip_of(**files))

    status = namespace.run(job("zipped", code={"s3": {"key": key}}))

    assert status["reason"] == reason, status["message"]
    assert message in status["message"]
    assert status["result"]["stdout"] == ("ran\n" if reason == "Completed" else "")


@pytest.mark.parametrize(
    ("command", "file", "text"),
    [
        (["python3", "-m", "app"], "app.py", "print('ran')"),
        (["sh", "-e", "run.sh"], "run.sh", "echo ran"),
        (["sh", "-c", "python3 tool.py"], "tool.py", "print('ran')"),
    ],
    ids=["module", "shell script", "shell text"],
)
def test_every_kind_of_command_enters_the_only_folder(
    namespace: Namespace, dev: DevAccess, request_id: str, command: list[str], file: str, text: str
) -> None:
    packed = zip_of(**{f"proj/{file}": text, "proj/other": ""})
    key = put_object(dev, namespace.key(f"t/{request_id}/v1.zip"), packed)

    status = namespace.run(job("entered", code={"s3": {"key": key}}, command=command))

    assert (status["reason"], status["result"]["stdout"]) == ("Completed", "ran\n")


def test_guessed_names_and_stale_outputs_are_reported(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    names_of_zip = (b"main.py", "output/Größe.txt".encode("cp437"), "매출.csv".encode("cp949"))
    key = put_object(
        dev, namespace.key(f"t/{request_id}/v1.zip"), as_written(*map(stored_entry, names_of_zip))
    )

    status = namespace.run(job("guessed", code={"s3": {"key": key}}))

    assert status["reason"] == "Completed", status["message"]
    synced = condition(status, "InputsSynced")["message"]
    assert "read as cp437: output/Größe.txt" in synced
    assert "read as cp949: 매출.csv" in synced
    assert status["result"]["outputs"] == []
    assert (
        "1 file is from the code's ZIP and unchanged, the first is Größe.txt"
        in (status["result"]["message"])
    )


@pytest.mark.parametrize(
    "name", ["1\u00a0000.csv", "\ufeffbom.csv", "soft\u00adhyphen", "a\u2009b"]
)
def test_unusual_names_are_kept_as_input_and_output(
    namespace: Namespace, dev: DevAccess, request_id: str, name: str
) -> None:
    key = put_object(dev, namespace.key(f"t/{request_id}/{name}"), b"x")
    code = "import os, shutil; shutil.copytree('data', 'output', dirs_exist_ok=True)"

    status = namespace.run(inline("unusual", code, inputs=[{"name": "a", "s3": {"key": key}}]))

    assert status["reason"] == "Completed", status["message"]
    assert [file["path"] for file in status["result"]["outputs"]] == [name]


def test_a_prefix_that_is_half_a_name_says_that_prefixes_are_folders(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    put_object(dev, namespace.key(f"t/{request_id}/2024-01.csv"), b"x")
    prefix = namespace.key(f"t/{request_id}/2024-")

    status = namespace.run(inline("half", "1", inputs=[{"name": "a", "s3": {"prefix": prefix}}]))

    assert status["reason"] == "InputNotFound"
    assert "a prefix is a folder: it contains 2024-/x, and not 2024-x" in status["message"]
