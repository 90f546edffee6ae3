"""The Python client: run code as jobs and in sessions. See docs/python.md.

A name is imported at its first use: a program that only lists jobs does not load the models, the
sessions and the gateway's client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from nanogrid.client.aio.client import AsyncClient, AsyncRun
    from nanogrid.client.aio.session import AsyncSession
    from nanogrid.client.client import Client
    from nanogrid.client.errors import (
        ApiError,
        Conflict,
        Expired,
        Forbidden,
        Invalid,
        InvalidRequest,
        JobDeleted,
        NanoGridError,
        NotConfigured,
        NotFound,
        Unauthorized,
        Unreachable,
        WaitTimeout,
    )
    from nanogrid.client.functions import Functions
    from nanogrid.client.gateway import Gateway
    from nanogrid.client.jobs.full_output import NotKept
    from nanogrid.client.jobs.manifest import build_job
    from nanogrid.client.jobs.output import Output
    from nanogrid.client.jobs.result import (
        Cancelled,
        CodeFailed,
        ExecutionTimeout,
        ImageError,
        InputError,
        Interrupted,
        JobFailed,
        OutOfMemory,
        OutputError,
        PlacementError,
        Result,
        SpecError,
        StorageError,
    )
    from nanogrid.client.jobs.run import Run
    from nanogrid.client.kube.cluster import Cluster
    from nanogrid.client.kube.port_forward import port_forward
    from nanogrid.client.s3_uri import Uploaded
    from nanogrid.client.sessions.execution import Display, Execution, ExecutionFailed
    from nanogrid.client.sessions.files import FileInfo, Files
    from nanogrid.client.sessions.session import Session
    from nanogrid.client.storage import Corrupt, Storage

_NAMES: Final = {
    "aio.client": "AsyncClient AsyncRun",
    "aio.session": "AsyncSession",
    "client": "Client",
    "errors": (
        "ApiError Conflict Expired Forbidden Invalid InvalidRequest JobDeleted NanoGridError "
        "NotConfigured NotFound Unauthorized Unreachable WaitTimeout"
    ),
    "functions": "Functions",
    "gateway": "Gateway",
    "jobs.full_output": "NotKept",
    "jobs.manifest": "build_job",
    "jobs.output": "Output",
    "jobs.result": (
        "Cancelled CodeFailed ExecutionTimeout ImageError InputError Interrupted JobFailed "
        "OutOfMemory OutputError PlacementError Result SpecError StorageError"
    ),
    "jobs.run": "Run",
    "kube.cluster": "Cluster",
    "kube.port_forward": "port_forward",
    "s3_uri": "Uploaded",
    "sessions.execution": "Display Execution ExecutionFailed",
    "sessions.files": "FileInfo Files",
    "sessions.session": "Session",
    "storage": "Corrupt Storage",
}
_MODULES: Final = {name: module for module, found in _NAMES.items() for name in found.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncRun",
    "AsyncSession",
    "Cancelled",
    "Client",
    "Cluster",
    "CodeFailed",
    "Conflict",
    "Corrupt",
    "Display",
    "Execution",
    "ExecutionFailed",
    "ExecutionTimeout",
    "Expired",
    "FileInfo",
    "Files",
    "Forbidden",
    "Functions",
    "Gateway",
    "ImageError",
    "InputError",
    "Interrupted",
    "Invalid",
    "InvalidRequest",
    "JobDeleted",
    "JobFailed",
    "NanoGridError",
    "NotConfigured",
    "NotFound",
    "NotKept",
    "OutOfMemory",
    "Output",
    "OutputError",
    "PlacementError",
    "Result",
    "Run",
    "Session",
    "SpecError",
    "Storage",
    "StorageError",
    "Unauthorized",
    "Unreachable",
    "Uploaded",
    "WaitTimeout",
    "build_job",
    "port_forward",
]
