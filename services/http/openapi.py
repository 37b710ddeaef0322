"""Additions to FastAPI's OpenAPI document: every error is a problem document."""

from typing import Any

from fastapi import FastAPI

from espalier.services.http import problems
from espalier.sweeps.spec.spec import SweepSpec

Document = dict[str, Any]  # a JSON object


def describe(app: FastAPI) -> None:
    """Add the schema of the problem document, which is no route's response model."""
    default_openapi = app.openapi

    def openapi() -> Document:
        document = default_openapi()
        known = document.setdefault("components", {}).setdefault("schemas", {})
        if "ProblemDocument" not in known:
            form = problems.ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
            spec = SweepSpec.model_json_schema(ref_template="#/components/schemas/{model}")
            for name, schema in (("ProblemDocument", form), ("SweepSpec", spec)):
                known |= schema.pop("$defs", {}) | {name: schema}
            known.pop("HTTPValidationError", None)
            known.pop("ValidationError", None)
            for path in document["paths"].values():
                for operation in path.values():
                    _only_problems(operation)
        return document

    app.openapi = openapi


def _only_problems(operation: Document) -> None:
    wrong = operation.get("responses", {}).get("422", {}).get("content", {})
    if "application/json" in wrong:
        del wrong["application/json"]
        wrong |= {problems.MEDIA: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
