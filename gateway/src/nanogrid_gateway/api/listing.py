"""Pages of collections."""

from nanogrid.kube.conventions import KubeError
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_gateway.api.errors import ApiError, bad_request, cluster_unavailable
from nanogrid_gateway.kube.client import Kube


async def list_page(kube: Kube, collection: str, query: dict[str, str]) -> Json:
    """One page of a collection.

    Raises:
        ApiError: 410 or 400, the continue token is too old or wrong; 503.
    """
    try:
        return await kube.list(collection, query)
    except KubeError as e:
        if e.code == 410:
            message = "The continue token is too old. Start again without it."
            raise ApiError(410, Reason.BAD_REQUEST, message) from None
        if e.code == 400 and "continue" in query:
            message = "The continue token is not one of this listing. Start again without it."
            raise bad_request(message) from None
        raise cluster_unavailable(str(e)) from e
