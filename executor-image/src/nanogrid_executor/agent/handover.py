"""The steps that batch jobs and sessions share: read the manifest, fill the workspace, hand over.

A report is handed over to the termination message, to S3 and to the operator.
"""

import os

from nanogrid import names, result_auth, result_bounds, source_encoding, wire
from nanogrid.record import replace
from nanogrid_executor.agent import persist
from nanogrid_executor.agent.report_client import post_until_taken
from nanogrid_executor.agent.result import to_termination
from nanogrid_executor.log import warn
from nanogrid_executor.paths import Paths


def read_inputs(task: wire.PodTask, paths: Paths) -> tuple[wire.InputReport | None, str]:
    """The report in the manifest, None without inputs and code in S3; the problem, or nothing."""
    if task.code_s3 is None and not task.inputs:
        return None, ""
    try:
        with open(paths.manifest, encoding="utf-8") as file:
            return wire.loads(wire.Manifest, file.read()).report, ""
    except (OSError, ValueError) as error:
        return None, f"There is no manifest: {error}"


def fill_workspace(task: wire.PodTask, paths: Paths) -> str:
    """Write inline code and create the output directory; the problem, or nothing."""
    try:
        if task.code_inline is not None:
            entrypoint = os.path.join(paths.workspace, names.ENTRYPOINT)
            with open(entrypoint, "wb") as file:
                file.write(source_encoding.encode(task.code_inline))
        # User code may write to output/ without creating it.
        os.makedirs(os.path.join(paths.workspace, task.outputs.path), exist_ok=True)
    except (OSError, source_encoding.EncodingError) as error:
        return f"The workspace cannot be prepared: {error}"
    return ""


def write_termination(paths: Paths, report: wire.Report) -> None:
    """Write the report, shortened and signed as it is, to the termination message."""
    paths.write_termination(to_termination(report, _result_key()))


def _result_key() -> str:
    """The key of the job's results; empty if an older operator has created the pod."""
    return os.environ.get(names.ENV_RESULT_KEY, "")


def hand_over(task: wire.PodTask, paths: Paths, report: wire.Report) -> None:
    """Sign the report; write it to the termination message and S3, and post it to the operator."""
    key = _result_key()
    report = result_bounds.report(report)  # a session's totals add up what is within its bounds
    report = result_auth.sign_report(report, key)
    write_termination(paths, report)
    if not persist.put_result(task.bucket, report.result, key, task.root):
        report = replace(report, stored=False)
        write_termination(paths, report)
    url = os.environ.get(names.ENV_RESULTS_URL, "")
    if url:
        post_until_taken(url, paths.token, wire.dumps(report).encode())
    else:
        warn("report-not-posted", why=f"{names.ENV_RESULTS_URL} is not set")
