"""The Python client: run code as jobs and in sessions. See docs/python.md."""

from nanogrid.client.api import Client
from nanogrid.client.asynchronous import AsyncClient, AsyncRun
from nanogrid.client.asyncsession import AsyncSession
from nanogrid.client.cluster import Cluster, events, jobs, pods, secrets
from nanogrid.client.errors import (
    ApiError,
    Cancelled,
    CodeFailed,
    Conflict,
    ExecutionTimeout,
    Expired,
    Forbidden,
    ImageError,
    InputError,
    Interrupted,
    Invalid,
    InvalidRequest,
    JobDeleted,
    JobFailed,
    NanoGridError,
    NotConfigured,
    NotFound,
    OutOfMemory,
    OutputError,
    PlacementError,
    SpecError,
    StorageError,
    Unauthorized,
    Unreachable,
    WaitTimeout,
)
from nanogrid.client.execution import Display, Execution, ExecutionFailed
from nanogrid.client.fulltext import NotKept
from nanogrid.client.functions import Functions
from nanogrid.client.gateway import Gateway
from nanogrid.client.manifest import Uploaded, build_job
from nanogrid.client.portforward import port_forward
from nanogrid.client.result import Output, Result
from nanogrid.client.run import Run
from nanogrid.client.session import FileInfo, Files, Session
from nanogrid.client.storage import Corrupt, Storage

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
    "events",
    "jobs",
    "pods",
    "port_forward",
    "secrets",
]
