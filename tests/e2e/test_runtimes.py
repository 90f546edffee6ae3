"""Runtime images, and the memory and CPU time that the result reports."""

import pytest

from support.kubectl import Namespace, inline, kubectl_json


def test_peak_memory_is_what_the_program_used(namespace: Namespace) -> None:
    wanted = 400 << 20
    code = f"hog = bytearray(b'x') * {wanted}; print(len(hog))"
    status = namespace.run(inline("measured", code, resources={"limits": {"memory": "768Mi"}}))

    peak = status["result"]["peakMemoryBytes"]
    assert abs(peak - wanted) / wanted < 0.05, f"{peak >> 20} MiB for {wanted >> 20} MiB"
    assert "768Mi" in status["result"]["optimizationTip"]


def test_cpu_time_counts_all_processes(namespace: Namespace) -> None:
    spin = "import time; end = time.process_time() + 1.0\nwhile time.process_time() < end: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spin!r}])"
    status = namespace.run(inline("spun", code))

    assert 900 <= status["result"]["cpuMillis"] <= 5000


def image_without_python() -> str:
    """The pause image, which every node has: one static program."""
    for node in kubectl_json("get", "nodes")["items"]:
        for image in node["status"]["images"]:
            for name in image["names"]:
                if "/pause:" in name:
                    return str(name)
    pytest.skip("no node lists a pause image")


def test_image_without_python_has_its_reason(namespace: Namespace) -> None:
    status = namespace.run(inline("bare", "print(1)", runtime={"image": image_without_python()}))

    assert (status["phase"], status["reason"]) == ("Failed", "RuntimeInvalid")
    assert "python3" in status["message"]


def test_image_with_python_only_gets_the_launcher(namespace: Namespace, python_image: str) -> None:
    """The dev Redis image has Debian's python3 and none of the project's files."""
    code = "import os, sys; print(sys.version_info >= (3, 11), os.path.exists('/opt/nanogrid'))"
    status = namespace.run(inline("foreign", code, runtime={"image": python_image}))

    assert status["result"]["stdout"] == "True False\n", status["message"]


def test_missing_runtime_class_is_shown(namespace: Namespace) -> None:
    status = namespace.run(
        inline(
            "classless",
            "print(1)",
            runtime={"runtimeClassName": "no-such-class"},
            timeouts={"startupSeconds": 8},
        )
    )

    assert (status["phase"], status["reason"]) == ("Failed", "PodRejected")
    assert "no-such-class" in status["message"]
