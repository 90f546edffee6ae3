"""Facts of objects that are read again and again, so that they are not derived each time.

The operator never changes an object that it has observed: a new version is another dict. So what
was derived from a dict holds for as long as the dict exists.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import update_wrapper
from typing import Generic, TypeVar

from nanogrid.types import Json

T = TypeVar("T")


class Remembered(Generic[T]):
    """Derives the facts of an object once for each version.

    Of each uid only the last version counts. The objects that were used last stay.

    Args:
        derive: from an object to its facts; pure.
        most: how many objects' facts are kept.
    """

    def __init__(self, derive: Callable[[Json], T], most: int) -> None:
        self._derive, self._most = derive, most
        self._known: OrderedDict[str, tuple[Json, T]] = OrderedDict()  # by uid
        update_wrapper(self, derive)

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, body: Json) -> T:
        """The facts of an object, which must not change after this call."""
        uid: str = body["metadata"]["uid"]
        known = self._known.get(uid)
        if known is not None and known[0] is body:
            self._known.move_to_end(uid)
            return known[1]
        facts = self._derive(body)
        self._known[uid] = body, facts
        self._known.move_to_end(uid)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return facts


def remembered(most: int) -> Callable[[Callable[[Json], T]], Remembered[T]]:
    """Decorates a function that derives facts; see :class:`Remembered`."""
    return lambda derive: Remembered(derive, most)
