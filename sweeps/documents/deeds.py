"""The documents of commands that check, write, pull or change something."""

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import TypedDict


class FindingDocument(TypedDict):
    """A finding of a check. level: pass, note, warn or FAIL."""

    level: str
    what: str
    said: str


class CheckDocument(TypedDict):
    """`sweep check`: whether nothing fails, and each finding."""

    passed: bool
    findings: Sequence[FindingDocument]
    forecast: Mapping[str, Any] | None


class RangeDocument(TypedDict):
    """`sweep lr-range`. interval: of the exponents that are worth searching; null for none."""

    interval: Sequence[float] | None
    rules: Mapping[str, Any]
    exponents: Sequence[float]
    notes: Sequence[str]


class ExportDocument(TypedDict):
    """`sweep export`: what was written."""

    sweep: str
    path: str
    files: int
    size_bytes: int
    notes: Sequence[str]


class UnpackDocument(TypedDict):
    """`sweep unpack`: which sweep, and the home that has it now."""

    sweep: str
    home: str


class InitDocument(TypedDict):
    """`sweep init`: the files that were written, what is searched, and which commands come next."""

    files: Sequence[str]
    name: str
    searched: Sequence[str]
    notes: Sequence[str]


class ImportDocument(TypedDict):
    """`sweep import`: the fields of the spec, and what has no counterpart."""

    spec: Mapping[str, Any]
    notes: Sequence[str]


class RerunDocument(TypedDict):
    """`sweep rerun`: whether every number is the same. value: of the objective, as it came out now.

    apart: by how much of its range at most a report differs, for one that is nearly the same; null: to the last bit.
    difference: the first that is not the same; "" for none. surroundings: what else differs, as versions.
    model, version: in MLflow's registry, with --register.
    """

    sweep: str
    trial: int
    reproduced: bool
    metric: str
    value: float | None
    apart: float | None
    difference: str
    surroundings: Sequence[str]
    model: str | None
    version: str | None


class PullDocument(TypedDict):
    """`sweep pull`: the files of a model's version, and the trial that it was trained by."""

    model: str
    version: str
    sweep: str
    trial: str
    files: Sequence[str]


class ReportDocument(TypedDict):
    """`sweep report`: the page that was written, and the answer in sentences."""

    sweep: str
    file: str
    answer: Sequence[str]


class LogsDocument(TypedDict):
    """`sweep logs`: what a sweep's driver has written so far."""

    sweep: str
    log: str


class SaidDocument(TypedDict):
    """`sweep stop`, `enqueue` and `delete`: what was done, in sentences."""

    sweep: str
    said: Sequence[str]


class TokenDocument(TypedDict):
    """`sweep token create`: the token, which is shown this once. days: that it is valid; null: until revoked."""

    token: str
    owner: str
    role: str
    days: float | None


class ListedTokenDocument(TypedDict):
    """A row of `sweep token list`, whose document is a list of them. state: valid, expired or revoked."""

    id: str
    owner: str
    role: str
    created: str
    expires: str | None
    state: str


class RevokedDocument(TypedDict):
    """`sweep token revoke`: which token has ended."""

    id: str


class QuotaDocument(TypedDict):
    """`sweep quota`: what an owner's sweeps have used or will use, and how much they may; null: without limit."""

    owner: str
    trials_used: int
    trials: int | None
    gpu_hours_used: float
    gpu_hours: float | None


class UpgradeDocument(TypedDict):
    """`sweep db upgrade`: each database that has the schema of this version now."""

    said: Sequence[str]
