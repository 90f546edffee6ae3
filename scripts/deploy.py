"""Install or upgrade the chart with the images of ``build/images.json``.

It enables devServices: a Redis and an S3 server in the cluster, for demo and tests only.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from cluster.progress import reporting  # noqa: E402

RELEASE = "nanogrid"
NAMESPACE = "nanogrid-system"

# What tests and demo choose in their jobs; a default of all namespaces. The images are a runtime,
# an image with Debian's python3, one without python3, and two that cannot be pulled. Two names do
# not exist: their jobs show what Kubernetes says.
ALLOW = {
    "images": [
        "nanogrid-python-data",
        "nanogrid-dev-redis",
        "registry.k8s.io/pause",
        "registry.invalid/none",
        "127.0.0.1:9/none",
    ],
    "serviceAccounts": ["nobody"],
    "runtimeClasses": ["no-such-class"],
}


def values() -> dict[str, object]:
    """The chart's values for the built images."""
    file = ROOT / "build/images.json"
    if not file.exists():
        sys.exit("deploy: build/images.json is missing; run `make images` first")
    images = json.loads(file.read_text())
    image: dict[str, object] = {}
    for name in ("operator", "executor", "gateway"):
        repository, _, tag = images[name].rpartition(":")
        image[name] = {"repository": repository, "tag": tag}
    dev = {"redis": images["dev-redis"], "s3": images["dev-s3"]}
    return {
        "image": image,
        "devServices": {"enabled": True, "images": dev},
        "gateway": {"replicas": 1},  # small nodes
        "egressProxy": {
            "enabled": True,
            "replicas": 1,
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        },
        "tenancy": {"defaults": {"allow": ALLOW}},
        "sessions": {"expose": ["Service", "Ingress"], "deregistrationSeconds": 3},
    }


def main() -> None:
    """Run helm and wait until all pods are ready."""
    parser = argparse.ArgumentParser(description="Install the chart for demo and tests.")
    parser.add_argument(
        "--timeout", default="180s", help="timeout of the wait for readiness (default: 180s)"
    )
    options = parser.parse_args()
    file = ROOT / "build/values.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(values(), indent=2))
    started = time.monotonic()
    with reporting(f"deploy: install the release {RELEASE}"):
        done = subprocess.run(
            ["helm", "upgrade", "--install", RELEASE, "helm/nanogrid-operator", "--namespace",
             NAMESPACE, "--create-namespace", "--values", str(file), "--wait", "--timeout",
             options.timeout],
            cwd=ROOT, text=True, capture_output=True, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        print(done.stdout + done.stderr, file=sys.stderr)
        subprocess.run(["kubectl", "-n", NAMESPACE, "get", "pods", "-o", "wide"], check=False)
        subprocess.run(
            ["kubectl", "-n", NAMESPACE, "logs", f"deploy/{RELEASE}", "--tail=30"], check=False
        )
        sys.exit(
            "deploy: the release did not become ready; see the pods and the operator's log above"
        )
    print(f"deploy: release {RELEASE} is ready after {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
