"""What goes in and what comes out: inputs, archives, outputs, streams, memory."""

import io
import json
import zipfile

import pytest

from e2e.support import Json, Namespace, condition, in_redis, inline, job, kubectl_json, zip_of
from nanogrid import names
from scripts.devaccess import DevAccess

TREE = """
import hashlib, json, os
found = {}
for folder, _, files in os.walk('/app/data'):
    for name in files:
        path = os.path.join(folder, name)
        found[os.path.relpath(path, '/app/data')] = open(path, 'rb').read().decode()
print(json.dumps(found, ensure_ascii=False, sort_keys=True))
"""


def put(dev: DevAccess, key: str, body: bytes) -> str:
    dev.s3.put_object(Bucket=dev.bucket, Key=key, Body=body)
    return key


def stored(dev: DevAccess, prefix: str) -> dict[str, int]:
    """Keys below a prefix, without it, and their sizes."""
    listed = dev.s3.list_objects_v2(Bucket=dev.bucket, Prefix=prefix).get("Contents", [])
    return {o["Key"].removeprefix(prefix): o["Size"] for o in listed}


# Inputs.


def test_inputs_of_every_kind_come_together(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    base = f"t/{request_id}"
    put(dev, f"{base}/one 파일.csv", "하나".encode())
    put(dev, f"{base}/tree/a.txt", b"a")
    put(dev, f"{base}/tree/깊은 폴더/b.txt", b"b")
    put(dev, f"{base}/tree/folder/", b"")
    put(dev, f"{base}/archive.zip", zip_of(z__txt="z"))
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
    assert manifest_uri == f"s3://{dev.bucket}/{names.manifest_object(request_id)}"
    body = dev.s3.get_object(Bucket=dev.bucket, Key=names.manifest_object(request_id))["Body"]
    paths = {e["path"] for e in json.loads(body.read())["entries"]}
    assert "/app/data/tree/깊은 폴더/b.txt" in paths


def test_many_small_files(namespace: Namespace, dev: DevAccess, request_id: str) -> None:
    count = 300
    for number in range(count):
        put(dev, f"t/{request_id}/{number:04}.txt", b"x" * 512)
    code = "import os; print(len(os.listdir('data')))"

    status = namespace.run(
        inline("many", code, inputs=[{"name": "a", "s3": {"prefix": f"t/{request_id}/"}}])
    )

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
def test_input_that_is_not_as_asked_is_named(
    namespace: Namespace, dev: DevAccess, request_id: str, fields: Json, reason: str
) -> None:
    key = put(dev, f"t/{request_id}/data.csv", b"four")
    entry: Json = {"name": "a", "s3": {"key": key}} | fields
    entry["s3"] = entry["s3"] | {"key": key}

    status = namespace.run(inline("asked", "print('ran')", inputs=[entry]))

    assert (status["phase"], status["reason"]) == ("Failed", reason)
    assert status["result"]["stdout"] == ""
    assert condition(status, "InputsSynced")["reason"] == reason


def test_two_inputs_with_one_path_conflict(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    keys = [put(dev, f"t/{request_id}/{n}/same.csv", b"x") for n in (1, 2)]

    status = namespace.run(
        inline(
            "clash",
            "print('ran')",
            inputs=[{"name": f"i{n}", "s3": {"key": key}} for n, key in enumerate(keys)],
        )
    )

    assert (status["phase"], status["reason"]) == ("Failed", "PathConflict")
    assert "same.csv" in status["message"]


# Archives.


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, text in files.items():
            opened.writestr(name, text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("files", "reason", "says"),
    [
        ({"proj/main.py": "print('ran')"}, "Completed", ""),
        ({"proj/app.py": "print('ran')"}, "EntrypointNotFound", "app.py"),
        ({"../main.py": "print('ran')"}, "UnsafeArchive", "../main.py"),
        ({"main.py": "print(1)", "MAIN.py": "print(2)"}, "UnsafeArchive", "MAIN.py"),
    ],
    ids=["in a folder", "nowhere", "outside", "twice"],
)
def test_archive_of_code(
    namespace: Namespace,
    dev: DevAccess,
    request_id: str,
    files: dict[str, str],
    reason: str,
    says: str,
) -> None:
    key = put(dev, f"t/{request_id}/v1.zip", archive(**files))

    status = namespace.run(job("zipped", code={"s3": {"key": key}}))

    assert status["reason"] == reason, status["message"]
    assert says in status["message"]
    assert status["result"]["stdout"] == ("ran\n" if reason == "Completed" else "")


# Outputs.

FILES = """
import os, sys
os.makedirs('output/deep/er')
for name in ('a.csv', 'b.tmp', 'deep/c.csv', 'deep/er/d.csv', 'deep/er/e.tmp'):
    open(f'output/{name}', 'w').write(name)
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
"""


@pytest.mark.parametrize(
    ("outputs", "arguments", "kept"),
    [
        ({"include": ["**/*.csv"]}, [], ["a.csv", "deep/c.csv", "deep/er/d.csv"]),
        ({"include": ["*.csv"]}, [], ["a.csv"]),
        ({"exclude": ["**/*.tmp", "deep/er/**"]}, [], ["a.csv", "deep/c.csv"]),
        ({"uploadPolicy": "Never"}, [], []),
        ({"uploadPolicy": "OnSuccess", "include": ["a.csv"]}, ["3"], []),
        ({"include": ["a.csv"]}, ["3"], [".partial/a.csv"]),
    ],
    ids=["deep glob", "flat glob", "exclude", "never", "on success", "partial"],
)
def test_rules_say_which_outputs_are_stored(
    namespace: Namespace,
    dev: DevAccess,
    request_id: str,
    outputs: Json,
    arguments: list[str],
    kept: list[str],
) -> None:
    status = namespace.run(
        inline("chosen", FILES, requestId=request_id, outputs=outputs, args=arguments)
    )

    assert status["result"]["exitCode"] == (int(arguments[0]) if arguments else 0)
    assert sorted(stored(dev, names.outputs_prefix(request_id))) == sorted(kept)
    prefix = f"s3://{dev.bucket}/{names.outputs_prefix(request_id)}"
    assert sorted(status["result"]["outputFiles"]) == sorted(prefix + name for name in kept)


@pytest.mark.parametrize(
    ("cap", "says"), [({"maxFiles": 3}, "maxFiles"), ({"maxFileBytes": 5}, "maxFileBytes")]
)
def test_caps_of_outputs_are_named(namespace: Namespace, cap: Json, says: str) -> None:
    status = namespace.run(inline("capped", FILES, outputs=cap))

    assert (status["phase"], status["reason"]) == ("Failed", "OutputUploadFailed")
    assert status["result"]["exitCode"] == 0
    assert says in status["message"]


def test_presigned_urls_work_without_keys(namespace: Namespace, request_id: str) -> None:
    status = namespace.run(
        inline(
            "signed",
            "open('output/a.txt', 'w').write('서명')",
            requestId=request_id,
            outputs={"urlFormat": "Presigned", "presignedExpirySeconds": 120},
        )
    )
    (url,) = status["result"]["outputFiles"]
    assert url.startswith("http")
    assert "X-Amz-Expires=120" in url

    # Only inside the cluster has the server this name: another job, which has no keys, fetches it.
    fetch = (
        "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode())"
    )
    fetched = namespace.run(inline("fetcher", fetch, args=[url]))
    assert fetched["result"]["stdout"] == "서명\n"


TRICKS = {
    "links": r"""
import os
os.symlink('/etc/passwd', 'output/link.txt')
os.symlink('/run/nanogrid', 'output/folder')
open('output/twin.txt', 'w').write('x'); os.link('output/twin.txt', 'output/hard.txt')
""",
    "devices": r"""
import os, socket
os.mkfifo('output/pipe')
s = socket.socket(socket.AF_UNIX); s.bind('output/sock')
""",
    "sizes": r"""
f = open('output/sparse.bin', 'wb'); f.truncate(1 << 40); f.close()
open('output/new\nline.txt', 'w').write('x')
""",
}
REPORTED = {
    "links": ["link.txt", "folder", "twin.txt", "hard.txt"],
    "devices": ["pipe", "sock"],
    "sizes": ["sparse.bin", "line.txt"],
}


@pytest.mark.parametrize("kind", list(TRICKS))
def test_trick_outputs_are_never_stored_and_always_reported(
    namespace: Namespace, dev: DevAccess, request_id: str, kind: str
) -> None:
    code = (
        TRICKS[kind] + "import os; os.mkdir('output/real'); open('output/real/kept', 'w').close()"
    )
    status = namespace.run(inline("tricks", code, requestId=request_id))

    assert stored(dev, names.outputs_prefix(request_id)) == {"real/kept": 0}
    for name in REPORTED[kind]:
        assert name in status["message"], f"{name} is not reported in {status['message']}"


# Streams.


def test_flood_keeps_head_tail_count_and_a_full_text_up_to_its_cap(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    lines = 3_000_000
    code = f"print('first')\nfor i in range({lines}): print(f'{{i:09}}')\nprint('last')"
    status = namespace.run(
        inline(
            "flood",
            code,
            requestId=request_id,
            logs={"maxBytes": 1 << 20},
            env=[{"name": "PYTHONUNBUFFERED", "value": ""}],
        ),
    )
    result = status["result"]

    assert status["phase"] == "Succeeded", status["message"]
    assert result["stdoutBytes"] == len("first\nlast\n") + 10 * lines
    assert result["stdoutTruncated"] is True
    assert result["stdout"].endswith("last\n")
    whole = json.loads(in_redis(dev, request_id))["stdout"]
    assert whole.startswith("first\n")
    assert whole.endswith("last\n")
    assert len(whole.encode()) <= 64 * 1024
    size = stored(dev, f"results/{request_id}/")["stdout.txt"]
    assert size == 1 << 20
    assert result["stdoutUrl"] == f"s3://{dev.bucket}/results/{request_id}/stdout.txt"
    assert len(json.dumps(namespace.get("flood")["status"]).encode()) <= 64 * 1024


def test_binary_output_survives(namespace: Namespace) -> None:
    code = "import os; os.write(1, b'a\\xff\\x00\\xed\\x95\\x9c\\n')"
    status = namespace.run(inline("binary", code))

    assert status["result"]["stdout"] == "a\ufffd\x00한\n"
    assert status["result"]["stdoutBytes"] == 7


def test_output_without_newline_is_not_lost_at_a_kill(namespace: Namespace) -> None:
    code = "import time; print('no newline', end=''); time.sleep(60)"
    status = namespace.run(inline("held", code, timeouts={"executionSeconds": 1}))

    assert status["result"]["status"] == "TIMEOUT"
    assert status["result"]["stdout"] == "no newline"


# Truth.


def test_peak_memory_is_what_the_program_used(namespace: Namespace) -> None:
    wanted = 400 << 20
    code = f"hog = bytearray(b'x') * {wanted}; print(len(hog))"
    status = namespace.run(inline("measured", code, resources={"limits": {"memory": "768Mi"}}))

    peak = status["result"]["peakMemoryBytes"]
    assert abs(peak - wanted) / wanted < 0.05, f"{peak >> 20} MiB for {wanted >> 20} MiB"
    assert "768 MB" in status["result"]["optimizationTip"]


def test_cpu_time_counts_all_processes(namespace: Namespace) -> None:
    spin = "import time; end = time.process_time() + 1.0\nwhile time.process_time() < end: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spin!r}])"
    status = namespace.run(inline("spun", code))

    assert 900 <= status["result"]["cpuMillis"] <= 2500


# Runtimes.


def an_image_without_python() -> str:
    """The pause image, which every node has: one static program and nothing else."""
    for node in kubectl_json("get", "nodes")["items"]:
        for image in node["status"]["images"]:
            for name in image["names"]:
                if "/pause:" in name:
                    return str(name)
    pytest.skip("no node lists a pause image")


def test_image_without_python_is_named(namespace: Namespace) -> None:
    status = namespace.run(inline("bare", "print(1)", runtime={"image": an_image_without_python()}))

    assert (status["phase"], status["reason"]) == ("Failed", "RuntimeInvalid")
    assert "python3" in status["message"]


def test_image_with_python_only_gets_the_launcher(namespace: Namespace, python_image: str) -> None:
    """The dev Redis image has Debian's python3 and nothing of ours."""
    code = "import os, sys; print(sys.version_info >= (3, 11), os.path.exists('/opt/nanogrid'))"
    status = namespace.run(inline("foreign", code, runtime={"image": python_image}))

    assert status["result"]["stdout"] == "True False\n", status["message"]


def test_missing_runtime_class_is_shown(namespace: Namespace) -> None:
    status = namespace.run(
        inline(
            "classless",
            "print(1)",
            runtime={"runtimeClassName": "no-such-class"},
            timeouts={"startupSeconds": 3},
        )
    )

    assert (status["phase"], status["reason"]) == ("Failed", "PodRejected")
    assert "no-such-class" in status["message"]
