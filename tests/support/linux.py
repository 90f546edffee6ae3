"""Which tests need Linux, and why; elsewhere they are skipped with this reason.

The demo and the other tests also run on macOS with Docker. The product itself runs in Linux
containers only.
"""

from collections.abc import Iterable
from fnmatch import fnmatch

# Tests that use one of these fixtures, also indirectly.
FIXTURES = {
    "launcher_dir": "the sandbox's launcher controls processes with prctl and /proc",
    "local": "`nanogrid run --local` starts the sandbox's launcher",
}
# Other tests, by file below tests/ and name.
TESTS = {
    "chaos/test_kwok.py::*": "they read the operator's memory in /proc",
    "chaos/test_storm.py::*": "they read the operator's memory in /proc",
    "integration/test_cli_local.py::test_ctrl_c_*": FIXTURES["local"],
    "integration/test_cli_local.py::test_bytes_that_are_not_text_*": FIXTURES["local"],
    "integration/test_executor_isolation.py::*": "they use PID namespaces",
    "integration/test_forging_programs.py::*": "they use PID namespaces, prctl and setpriv",
    "integration/test_gateway_clients.py::test_clients_that_read_nothing_*": "it reads /proc/net",
    "integration/test_neighbours.py::*": "they use setpriv and the kernel's limits for each user",
    "integration/test_network_hold.py::*": "they use seccomp and /proc",
    "integration/test_network_hold_attacks.py::*": "they use seccomp and /proc",
    "integration/test_waiting_interpreter_ends.py::*": "they read /proc, and use PID namespaces",
    "integration/test_router_forward.py::test_large_download_*": "it reads memory in /proc",
    "unit/cluster/test_engine.py::*": "only Linux runs the scripts' own Docker engine",
    "unit/cluster/test_lanes.py::test_only_lanes_*": "a thread has a priority on Linux only",
    "unit/executor/test_archive.py::test_a_refusal_takes_little_memory*": "it reads /proc/self",
    "unit/executor/test_archive.py::test_a_large_file_*": "it reads memory in /proc/self",
    "unit/sdk/test_client_port_forward.py::*": "they look for processes in /proc",
}


def reason(test: str, fixtures: Iterable[str]) -> str | None:
    """Why a test needs Linux; None if it does not.

    Args:
        test: its pytest ID, for example tests/unit/cluster/test_lanes.py::test_x[y].
        fixtures: the names of all its fixtures.
    """
    name = test.removeprefix("tests/")
    for pattern, why in TESTS.items():
        if fnmatch(name, pattern) or fnmatch(name, f"{pattern}[[]*"):
            return why
    return next((FIXTURES[fixture] for fixture in fixtures if fixture in FIXTURES), None)


def skip_reason(system: str, test: str, fixtures: Iterable[str]) -> str | None:
    """Why a test is skipped on this system (``sys.platform``); None if it runs."""
    if system == "linux" or (why := reason(test, fixtures)) is None:
        return None
    return f"needs Linux: {why}"
