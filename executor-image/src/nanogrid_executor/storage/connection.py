"""S3 connections through obstore, with our own retries.

The retries of obstore are off: the product promises, and the log shows, four tries with 1, 2 and
4 seconds (and jitter) between them. A refusal (403) or a missing object (404) is not retried, and
nothing is tried after the deadline of the phase. Only in a multipart upload obstore retries each
request, with the same delays: then it repeats one part and not all, and the abort is not lost.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from nanogrid import names
from nanogrid.backoff import jitter
from nanogrid.ca_bundle import trusted_file
from nanogrid_executor.clock import Deadline, DeadlineError, endless
from nanogrid_executor.log import warn
from nanogrid_executor.storage.errors import StorageError, explain
from nanogrid_executor.storage.region import bucket_region

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config, S3Store

    from nanogrid_executor.storage.role_credentials import RoleCredentials

T = TypeVar("T")

DELAYS: Final = (1.0, 2.0, 4.0)
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0  # of one read: for a stalled connection, not for a large object
REQUEST_SECONDS: Final = 3600.0
SHORTEST_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 30.0  # of one request of a multipart upload
# Credentials of the node and of the pod: no proxy reaches them.
CREDENTIAL_ADDRESSES: Final = ("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23")
# In an error of obstore: what gives it credentials raised.
NO_CREDENTIALS: Final = "External AWS credential provider"
UPLOAD_TRIES: Final = 2  # of a whole multipart upload; its requests have retries of their own


class Connection:
    """Access to all buckets with one set of credentials, taken from the environment.

    They are the pod's own, or those of a role that these assume.
    """

    def __init__(
        self,
        deadline: Deadline | None = None,
        delays: tuple[float, ...] = DELAYS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.retries = 0
        self.deadline = deadline or endless()
        self._delays = delays
        self._pause = pause
        self._lock = threading.Lock()
        self._stores: dict[tuple[str, bool], S3Store] = {}
        self._role = _role(self.deadline)

    def attempt(
        self,
        action: str,
        bucket: str,
        key: str,
        call: Callable[["S3Store"], T],
        *,
        in_parts: bool = False,
    ) -> T:
        """Call, and repeat the call while the error may pass.

        Args:
            action: the name of the call in the log.
            bucket: the bucket that the call gets a client for.
            key: the object or prefix, for messages.
            call: the call.
            in_parts: whether the call is a multipart upload.

        Raises:
            StorageError: S3 refused the call, or the last try failed.
            DeadlineError: no time is left for another try.
        """
        import obstore.exceptions

        uri = f"s3://{bucket}/{key}"
        delays = self._delays[: UPLOAD_TRIES - 1] if in_parts else self._delays
        for number in range(len(delays) + 1):
            self.deadline.check()
            try:
                return call(self._store(bucket, in_parts))
            except (obstore.exceptions.BaseError, FileNotFoundError, ValueError) as error:
                failure = self._without_credentials(error, uri) or explain(error, uri)
                if failure.elsewhere and (region := bucket_region(bucket, self.deadline)):
                    message = f"{failure}; the bucket is in {region}"
                    failure = StorageError(failure.reason, message)
                if not failure.retryable or number == len(delays):
                    raise failure from error
            wait = jitter(delays[number], 1.0, 1.25)
            if wait >= self.deadline.remaining():
                message = f"no time for another try: {failure}"
                raise DeadlineError(message) from failure
            with self._lock:
                self.retries += 1
            warn("s3-retry", action=action, uri=uri, seconds=f"{wait:.2f}", error=failure)
            self._pause(wait)
        raise AssertionError("unreachable: the last try returns or raises")

    def _store(self, bucket: str, in_parts: bool) -> "S3Store":
        delays = self._delays if in_parts else ()
        with self._lock:
            known = (bucket, in_parts)
            if known not in self._stores:
                self._stores[known] = _connect(
                    bucket, self.deadline.remaining(), delays, self._role
                )
            return self._stores[known]

    def _without_credentials(self, error: Exception, uri: str) -> StorageError | None:
        """The failure of the role, if there were no credentials for the request."""
        failure = self._role.failure if self._role else None
        if failure is None or NO_CREDENTIALS not in str(error):
            return None
        message = f"{uri}: {failure}"
        return StorageError(failure.reason, message, retryable=failure.retryable)


def _role(deadline: Deadline) -> "RoleCredentials | None":
    """What gives the credentials of the role that the pod assumes; None: it assumes none."""
    if not os.environ.get(names.ENV_S3_ROLE_ARN):
        return None
    # Late: most installations assume no role, and it imports an HTTP client.
    from nanogrid.assumed_role import AssumedRole
    from nanogrid_executor.storage.role_credentials import RoleCredentials

    return RoleCredentials(AssumedRole.of_pod(os.environ), deadline)


def _without_tls(endpoint: str) -> bool:
    """Whether no request of a client uses TLS.

    Then it can do without CA certificates. Reading them takes 14 ms of CPU for each client, and a
    job has three of them. A pod without keys gets credentials from AWS, with TLS.
    """
    has_keys = bool(os.environ.get("AWS_ACCESS_KEY_ID"))
    proxy = os.environ.get(names.ENV_S3_PROXY, "")
    return endpoint.startswith("http://") and has_keys and not proxy.startswith("https://")


def _connect(
    bucket: str, seconds: float, delays: tuple[float, ...], role: "RoleCredentials | None"
) -> "S3Store":
    from datetime import timedelta

    from obstore.store import S3Store

    if pem := os.environ.get(names.ENV_S3_CA_BUNDLE):
        os.environ["SSL_CERT_FILE"] = trusted_file(pem)
    endpoint = os.environ.get(names.ENV_S3_ENDPOINT, "")
    config: S3Config = {"region": os.environ.get(names.ENV_S3_REGION) or "us-east-1"}
    if kms_key := os.environ.get(names.ENV_S3_KMS_KEY):
        config["server_side_encryption"] = "aws:kms"
        config["sse_kms_key_id"] = kms_key
    if endpoint:
        # Servers other than AWS have no DNS name for each bucket.
        config["endpoint"] = endpoint
        config["virtual_hosted_style_request"] = False
    else:
        # A wildcard TLS certificate covers one label only.
        config["virtual_hosted_style_request"] = "." not in bucket

    def at_most(limit: float) -> timedelta:
        return timedelta(seconds=max(SHORTEST_SECONDS, min(limit, seconds)))

    options: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "allow_invalid_certificates": _without_tls(endpoint),
        "connect_timeout": at_most(CONNECT_SECONDS),
        "read_timeout": at_most(READ_SECONDS),
        "timeout": at_most(REQUEST_SECONDS),
    }
    if proxy := os.environ.get(names.ENV_S3_PROXY):
        options["proxy_url"] = proxy
        options["proxy_excludes"] = ",".join(CREDENTIAL_ADDRESSES)
    return S3Store(
        bucket,
        config=config,
        client_options=options,
        credential_provider=role,
        retry_config={
            "max_retries": len(delays),
            "backoff": {"init_backoff": timedelta(seconds=min(delays, default=1)), "base": 2},
            "retry_timeout": at_most(RETRY_SECONDS),
        },
    )
