"""The test cluster: a real kind cluster on any machine, one module per step.

There are three ways, tried in this order: the cluster in ``KUBECONFIG``; kind with the published
node image, if a Docker engine can pull; everything built from language and Debian package
registries, if it cannot. ``docs/cluster.md`` explains them; ``python3 -m cluster --help`` lists the
commands.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 this package runs before uv selects a Python
    sys.exit(
        f"Python 3.11 or later is required; {sys.executable} is {sys.version.split()[0]}. Install "
        "one (macOS: `brew install python@3.13`), and then run `make TARGET PYTHON=python3.13`"
    )
