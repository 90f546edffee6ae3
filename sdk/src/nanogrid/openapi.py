"""Building blocks of OpenAPI 3.1 documents, shared by the HTTP APIs of gateway and session."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nanogrid.types import Json

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Operations:
    """Describes the operations of one API.

    Args:
        errors: the description of each error status.
        always: error statuses of an operation that names none.
    """

    errors: Mapping[int, str]
    always: tuple[int, ...]

    def operation(
        self,
        summary: str,
        answers: Mapping[int, str],
        errors: tuple[int, ...] | None = None,
        parameters: list[Json] | None = None,
    ) -> Json:
        """One operation; ``answers`` has the name of the schema of each status."""
        responses = {str(status): json_response(schema) for status, schema in answers.items()}
        statuses = self.always if errors is None else errors
        operation: Json = {"summary": summary, "responses": responses | self.failures(statuses)}
        return operation | ({"parameters": parameters} if parameters else {})

    def failures(self, statuses: tuple[int, ...]) -> Json:
        """The responses with these error statuses."""
        error = json_response("Error")
        return {str(s): {**error, "description": self.errors[s]} for s in sorted(statuses)}


def json_response(schema: str) -> Json:
    """A response with one of the document's schemas, by name."""
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": schema, "content": {JSON: {"schema": reference}}}


def parameter(name: str, place: str, schema: Json) -> Json:
    """A parameter; only one of the path is required."""
    return {"name": name, "in": place, "required": place == "path", "schema": schema}
