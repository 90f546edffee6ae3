"""The agent adds the values of Secrets to the code's environment, and keeps them nowhere else."""

from nanogrid import wire
from nanogrid_executor.agent.secret_env import with_secrets

TASK = wire.PodTask(
    namespace="team-a",
    job="sales",
    uid="u",
    attempt=0,
    request_id="r",
    execution_timeout_seconds=1.0,
    termination_grace_seconds=1.0,
    command=["true"],
    bucket="",
    outputs=wire.OutputRules(bucket="", prefix="", path="output"),
    env={"MODE": "full", "DB": "of the installation"},
)


def test_values_of_secrets_win_and_leave_the_agents_environment() -> None:
    environ = {"NANOGRID_SECRET_ENV_DB": "한글 $(X) \udcff", "NANOGRID_TASK": "{}", "PATH": "/bin"}

    task = with_secrets(TASK, environ)

    assert task.env == {"MODE": "full", "DB": "한글 $(X) \udcff"}
    assert environ == {"NANOGRID_TASK": "{}", "PATH": "/bin"}
    assert TASK.env["DB"] == "of the installation"


def test_an_optional_secret_that_is_missing_changes_nothing() -> None:
    assert with_secrets(TASK, {"PATH": "/bin"}) == TASK
