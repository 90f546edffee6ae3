"""PutMetricData over boto3. It blocks: call it in a thread.

Every call has a connect and a read timeout and one try: the caller decides about another one.
Credentials are those that boto3 finds: the role of the pod, or the environment.
"""

from collections.abc import Sequence
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from nanogrid.ca_bundle import trusted_file
from nanogrid.s3.client import proxies
from nanogrid.s3.errors import unanswered

CONNECT_SECONDS: Final = 3
READ_SECONDS: Final = 5
REFUSED_STATUSES: Final = frozenset({400, 413})
# Of status 400, but true of a moment and not of the data.
PASSING: Final = ("Throttl", "RequestLimitExceeded", "Expired", "InternalFail", "Unavailable")
DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "403"})
NO_ANSWER: Final = "the answer is none of CloudWatch"
HINT: Final = "allow cloudwatch:PutMetricData for this namespace to the operator's role"


class CloudWatchError(Exception):
    """CloudWatch did not answer, or refused.

    Attributes:
        refused: the data itself is refused, so another try cannot succeed.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class CloudWatch:
    """One endpoint. Safe for threads; close it when done.

    Args:
        endpoint: URL; empty for AWS.
        region: of the metrics.
        proxy: URL of an HTTP proxy; empty: that of the environment.
        ca_bundle: PEM text of CAs, in addition to the system's; empty: boto3's own.

    Raises:
        CloudWatchError: the endpoint or the region is none.
    """

    def __init__(self, endpoint: str, region: str, *, proxy: str = "", ca_bundle: str = "") -> None:
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=1,
            proxies=proxies(endpoint, proxy),
        )
        try:
            self._client: Any = boto3.Session().client(
                "cloudwatch",
                endpoint_url=endpoint or None,
                region_name=region,
                config=config,
                verify=trusted_file(ca_bundle) if ca_bundle else None,
            )
        except (BotoCoreError, ValueError) as e:
            raise CloudWatchError(str(e)) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def put(self, namespace: str, data: Sequence[dict[str, Any]]) -> None:
        """Send one request.

        Args:
            namespace: of the metrics.
            data: MetricDatum objects as boto3 takes them.

        Raises:
            CloudWatchError: CloudWatch has not confirmed them. It may have them all the same.
        """
        try:
            answer = self._client.put_metric_data(Namespace=namespace, MetricData=data)
        except ClientError as e:
            raise _answered(e) from None
        except ResponseParserError:  # its text repeats the answer
            raise CloudWatchError(NO_ANSWER) from None
        except (BotoCoreError, OSError) as e:
            message, code = unanswered(e)
            raise CloudWatchError(f"{code}: {message}") from None
        # A success has no content. A web page of a proxy with status 200 would be one too.
        if not answer["ResponseMetadata"].get("RequestId"):
            raise CloudWatchError(NO_ANSWER)


def _answered(error: ClientError) -> CloudWatchError:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(error.response.get("Error", {}).get("Code") or status)
    message = f"{code}, HTTP status {status}"
    if code in DENIED:
        message += f" ({HINT})"
    passing = any(word in code for word in PASSING)
    return CloudWatchError(message, refused=status in REFUSED_STATUSES and not passing)
