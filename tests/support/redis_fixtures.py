"""Sentinels and a Redis Cluster that test modules share: each takes seconds to start.

A test may kill a server that has a replica. So a module does not rely on all servers, and empties
what it counts in.
"""

from collections.abc import Iterator

import pytest

from support.redis_topologies import RedisCluster, Sentinels, started


@pytest.fixture(scope="session")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    with started(Sentinels(tmp_path_factory.mktemp("sentinels"))) as topology:
        yield topology


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with started(RedisCluster(tmp_path_factory.mktemp("cluster"))) as topology:
        yield topology
