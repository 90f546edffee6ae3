"""A hint speaks of the tool that its reader holds: every reason on every surface."""

import re

import pytest

from nanogrid.cli.app.errors import as_cli_error
from nanogrid.client import errors
from nanogrid.hints import HTTP_ONLY, Surface, hint_for, reworded, sentence_for, without_hint
from nanogrid.kube.conventions import KubeError
from nanogrid.reasons import HELP, Reason, sentence

SPEC = r"\b(spec|status)\.[a-zA-Z]"
REQUEST = r"\b(GET|POST|PUT|DELETE) /|openapi|Retry-After|Bearer"
OPTION = r"(?<!\w)--[a-z]"
KEYWORD = r"\b[a-z_]+=(?!true)|client\.|Session\.|Run\.|Result\.|raw\["
PROGRAM = r"`nanogrid (?!doctor)"
KUBECTL = r"kubectl"
GATEWAY = r"the gateway's namespace"

# What a hint must not speak of, by surface.
FOREIGN = {
    Surface.KUBECTL: (REQUEST, OPTION, KEYWORD, PROGRAM, GATEWAY),
    Surface.CLI: (SPEC, REQUEST, KEYWORD, GATEWAY, "kubectl (explain|get|edit)"),
    Surface.CLIENT: (SPEC, REQUEST, OPTION, PROGRAM, GATEWAY, "kubectl (explain|get|edit)"),
    Surface.HTTP: (SPEC, OPTION, KEYWORD, PROGRAM, KUBECTL),
    Surface.WEB: (SPEC, REQUEST, OPTION, KEYWORD, PROGRAM, KUBECTL, GATEWAY, "mountPath|maxBytes"),
}


# Every reason on every surface where it can appear.
CASES = [
    (reason, surface)
    for reason in Reason
    for surface in Surface
    if surface is not Surface.KUBECTL or reason not in HTTP_ONLY
]


@pytest.mark.parametrize(("reason", "surface"), CASES)
def test_a_hint_speaks_of_its_own_surface(reason: Reason, surface: Surface) -> None:
    hint = hint_for(reason.value, surface)
    assert [one for one in FOREIGN[surface] if re.search(one, hint)] == [], hint


@pytest.mark.parametrize("surface", Surface)
@pytest.mark.parametrize("reason", Reason)
def test_a_hint_is_complete_sentences(reason: Reason, surface: Surface) -> None:
    hint = hint_for(reason.value, surface)
    assert hint.endswith(".")
    assert ";" not in hint
    assert hint[0].isupper() or hint.startswith("`")


def test_a_reason_of_a_newer_release_has_no_hint() -> None:
    assert {hint_for("NotYetKnown", surface) for surface in Surface} == {""}


@pytest.mark.parametrize("reason", Reason)
def test_a_message_loses_the_hint_of_its_writer(reason: Reason) -> None:
    told = sentence(reason, "the detail")
    assert without_hint(reason.value, told).endswith("the detail.")
    answered = sentence_for(reason, "the detail", Surface.HTTP)
    assert without_hint(reason.value, answered).endswith("the detail.")


@pytest.mark.parametrize("reason", Reason)
def test_a_message_loses_its_hint_also_before_other_text(reason: Reason) -> None:
    message = sentence(reason, "the detail") + " Outputs not stored: a.csv."
    assert without_hint(reason.value, message).endswith("the detail. Outputs not stored: a.csv.")


@pytest.mark.parametrize("surface", [Surface.CLI, Surface.WEB])
@pytest.mark.parametrize("reason", Reason)
def test_a_message_gets_the_hint_of_another_surface(reason: Reason, surface: Surface) -> None:
    meaning = HELP[reason].meaning
    for written in (sentence(reason, "the detail"), sentence_for(reason, "x", Surface.HTTP)):
        before = sentence(Reason.STOPPING, written) + " Outputs not stored: a.csv."
        shown = reworded(before, surface)
        assert meaning in shown
        assert shown.endswith("Outputs not stored: a.csv.")
        own = shown.partition(meaning)[2]
        assert [one for one in FOREIGN[surface] if re.search(one, own)] == [], shown


@pytest.mark.parametrize("surface", [Surface.CLI, Surface.KUBECTL, Surface.CLIENT])
@pytest.mark.parametrize("reason", Reason)
def test_a_message_never_gets_the_hint_of_another_reason(reason: Reason, surface: Surface) -> None:
    # Several reasons have one hint for HTTP and distinct hints elsewhere.
    hint = hint_for(reason, Surface.HTTP)
    shown = reworded(f"It failed. {hint}", surface).removeprefix("It failed. ")
    same = {hint_for(one, surface) for one in Reason if hint_for(one, Surface.HTTP) == hint}
    written = {hint_for(one, Surface.KUBECTL) for one in Reason}
    if hint not in written:
        assert shown == (hint_for(reason, surface) if len(same) == 1 else hint)


def test_a_text_inside_a_sentence_is_no_hint() -> None:
    message = "It printed: Fix the problem in the message.x"
    assert without_hint("InvalidSpec", message) == message
    assert reworded(message, Surface.WEB) == message


def test_a_message_without_a_hint_stays() -> None:
    assert without_hint("OOMKilled", "It used 2 GiB.") == "It used 2 GiB."
    assert without_hint("NotYetKnown", "It used 2 GiB.") == "It used 2 GiB."


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "NotFound"),
        (409, "AlreadyExists"),
        (422, "Invalid"),
        (400, "BadRequest"),
        (500, "InternalError"),
    ],
)
def test_a_refusal_of_kubernetes_has_no_hint_of_another_server(code: int, reason: str) -> None:
    error = errors.of_kube(KubeError(code, reason, "the message"))
    shown = as_cli_error(error)
    assert shown is not None
    for text, surface in ((error.hint, Surface.CLIENT), (shown.hint, Surface.CLI)):
        assert text
        assert [one for one in FOREIGN[surface] if re.search(one, text)] == [] or (
            surface is Surface.CLIENT and "client." in text
        )
    if reason == "Forbidden":
        assert "verb and resource" in shown.hint


def subclasses(kind: type[errors.NanoGridError]) -> set[type[errors.NanoGridError]]:
    return {kind}.union(*(subclasses(one) for one in kind.__subclasses__()))


def test_the_command_line_rewords_each_default_hint_for_python() -> None:
    for kind in subclasses(errors.NanoGridError):
        hint = kind.default_hint
        if not re.search(KEYWORD + "|" + SPEC, hint):
            continue
        is_answer = issubclass(kind, errors.ApiError)
        error = kind(404, "", "the message") if is_answer else kind("the message")
        shown = as_cli_error(error)
        assert shown is not None
        assert shown.hint
        assert not any(re.search(one, shown.hint) for one in FOREIGN[Surface.CLI]), kind


@pytest.mark.parametrize("reason", [Reason.OOM_KILLED, Reason.FUNCTION_NOT_FOUND])
def test_the_command_line_rewords_the_hint_of_a_reason(reason: Reason) -> None:
    error = errors.api_error(404, reason.value, "the message")
    shown = as_cli_error(error)
    assert shown is not None
    assert error.hint == hint_for(reason.value, Surface.CLIENT)
    assert shown.hint == hint_for(reason.value, Surface.CLI)
    assert len({error.hint, shown.hint, HELP[reason].hint}) == 3


def test_a_hint_with_python_words_has_another_for_the_command_line() -> None:
    error = errors.NotConfigured("no bucket.", "Set BUCKET, or give s3=.", "Set BUCKET.")
    shown = as_cli_error(error)
    assert shown is not None
    assert (error.hint, shown.hint) == ("Set BUCKET, or give s3=.", "Set BUCKET.")


def test_a_hint_names_the_job_of_its_command() -> None:
    assert (
        hint_for(Reason.CANCELLED, Surface.CLI, "report")
        == "`nanogrid retry report` runs it again."
    )
    assert "JOB" in hint_for(Reason.CANCELLED, Surface.CLI)
