"""The deletion of a function beside an upload of its name."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from nanogrid.types import Json
from nanogrid_gateway.api.async_objects import AsyncObjects
from nanogrid_gateway.api.functions.functions import Functions
from nanogrid_gateway.kube.client import Kube

NEW = "root/functions/hello/v2.zip"


class _Objects:
    def __init__(self) -> None:
        self.stored = {"root/functions/hello/v1.zip", "root/functions/hello2/v1.zip"}

    def key(self, relative: str) -> str:
        return f"root/{relative}"

    async def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.stored if key.startswith(prefix))

    async def delete(self, keys: Sequence[str]) -> None:
        self.stored -= set(keys)


class _Kube:
    """One function without runs. Its deletion is at once followed by an upload of its name."""

    functions, jobs = "functions", "jobs"

    def __init__(self, objects: _Objects) -> None:
        self._objects = objects

    async def get(self, *_: Any) -> Json:
        return {"metadata": {"name": "hello", "uid": "u"}}

    async def list(self, *_: Any) -> Json:
        return {"metadata": {}, "items": []}

    async def delete(self, *_: Any) -> None:
        self._objects.stored.add(NEW)


def test_the_code_of_a_new_function_of_the_same_name_stays() -> None:
    objects = _Objects()
    functions = Functions(cast("Kube", _Kube(objects)), cast("AsyncObjects", objects))
    answer = asyncio.run(functions.delete("hello"))
    assert answer == {"functionId": "hello", "deletedObjects": 1}
    assert objects.stored == {NEW, "root/functions/hello2/v1.zip"}
