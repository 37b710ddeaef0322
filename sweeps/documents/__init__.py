"""The JSON documents of the commands, as types: what `--json` prints, version VERSION.

Keys are added within a version, and neither removed nor given another meaning. `sweep schema COMMAND` prints them as
JSON Schema.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from espalier.sweeps.documents.deeds import (
    CheckDocument,
    ExportDocument,
    ImportDocument,
    InitDocument,
    ListedTokenDocument,
    LogsDocument,
    PullDocument,
    QuotaDocument,
    RangeDocument,
    ReportDocument,
    RerunDocument,
    RevokedDocument,
    SaidDocument,
    TokenDocument,
    UnpackDocument,
    UpgradeDocument,
)
from espalier.sweeps.documents.results import (
    CompareDocument,
    ExplainDocument,
    ListedDocument,
    RunDocument,
    ShowDocument,
    SubmitDocument,
    TopDocument,
)

VERSION = 1
"""The version of all documents: their key `schema`. A list, as of `sweep list`, has none."""

DOCUMENTS: Mapping[str, Any] = {
    "run": RunDocument,
    "resume": RunDocument | SubmitDocument,
    "extend": RunDocument | SubmitDocument,
    "list": Sequence[ListedDocument],
    "show": ShowDocument,
    "explain": ExplainDocument,
    "compare": CompareDocument,
    "best": TopDocument,
    "check": CheckDocument,
    "lr-range": RangeDocument,
    "export": ExportDocument,
    "unpack": UnpackDocument,
    "rerun": RerunDocument,
    "pull": PullDocument,
    "report": ReportDocument,
    "logs": LogsDocument,
    "submit": SubmitDocument,
    "init": InitDocument,
    "import": ImportDocument,
    "stop": SaidDocument,
    "enqueue": SaidDocument,
    "delete": SaidDocument,
    "token create": TokenDocument,
    "token list": Sequence[ListedTokenDocument],
    "token revoke": RevokedDocument,
    "quota": QuotaDocument,
    "db upgrade": UpgradeDocument,
}
"""By command, the type of its document."""


def document_schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema of what a command prints with --json.

    >>> document_schema("list")["type"], document_schema("show")["required"][:2]
    ('array', ['sweep', 'state'])
    """
    named = "-".join(["sweep", *command.split(), str(VERSION)])
    schema = TypeAdapter(DOCUMENTS[command]).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": named} | schema


def versioned(document: object) -> object:
    """Return a document with its version in front; a list as it is.

    >>> versioned({"sweep": "names-1"}), versioned([1])
    ({'schema': 1, 'sweep': 'names-1'}, [1])
    """
    return {"schema": VERSION, **document} if isinstance(document, Mapping) else document
