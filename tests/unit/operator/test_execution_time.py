"""The default timeout of code fits into the limit of its namespace; what is written is checked."""

import pytest

from nanogrid.types import Json
from nanogrid_operator.decision import policy
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.execution_time import execution_seconds
from support.builders import a_job, some_settings, tenant_of

SESSION = {"mode": "Session", "code": None}


@pytest.mark.parametrize(
    ("fields", "most", "want"),
    [
        ({}, None, 300),
        ({}, 60, 60),
        ({}, 3600, 300),
        ({"timeouts": {"uploadSeconds": 9}}, 60, 60),
        ({"activeDeadlineSeconds": 30}, 60, 30),
        ({"terminationGracePeriodSeconds": 40}, 60, 30),
        (SESSION, 60, 60),
        (SESSION | {"session": {"maxLifetimeSeconds": 20}}, 60, 20),
        (SESSION | {"session": {"idleTimeoutSeconds": 9}}, None, 300),
    ],
)
def test_a_default_fits_into_the_limit_of_the_namespace(
    fields: Json, most: int | None, want: int
) -> None:
    limits = "{}" if most is None else f'{{"limits": {{"executionSeconds": {most}}}}}'
    settings = some_settings(tenant_defaults=limits)
    spec, tenant = a_job(**fields).spec, tenant_of(settings)
    assert spec is not None

    policy.check(spec, tenant, settings)

    assert execution_seconds(spec, tenant, settings) == want


def test_a_grace_that_leaves_no_time_is_refused() -> None:
    settings = some_settings(tenant_defaults='{"limits": {"executionSeconds": 60}}')
    spec, tenant = a_job(terminationGracePeriodSeconds=3600).spec, tenant_of(settings)
    assert spec is not None

    with pytest.raises(InvalidSpecError, match=r"terminationGracePeriodSeconds: 3600 is 3590"):
        policy.check(spec, tenant, settings)
