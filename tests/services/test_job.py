"""What a job reads is what the service has accepted."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.services.clusters.cluster import Job
from espalier.services.clusters.job_folder import write_job
from espalier.services.job import spec_of
from espalier.services.submissions import checked_fields
from tests.services.conftest import spec

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def read_by_job(fields: dict[str, Any]) -> tuple[Any, Any]:
    """Return a spec as the service has accepted it, and as its job reads it."""
    sent, accepted = checked_fields(fields)
    with tempfile.TemporaryDirectory() as folder:
        write_job(Job("a-0", "a", sent), Path(folder))
        return accepted, spec_of(Path(folder))


@given(st.dictionaries(TEXT, TEXT | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(-1e300, 1e300), max_size=4))
def test_a_job_reads_the_spec_that_was_accepted(options: dict[str, Any]) -> None:
    accepted, read = read_by_job(spec(notify={"command": ["echo", *map(str, options)]}, task_options=options))
    assert read == accepted


@pytest.mark.parametrize("text", ["\U0001f680 x", "\x85", "\u2028", "\x7f", "<<", "k" * 2000])
def test_a_job_reads_what_yaml_alone_would_not(text: str) -> None:
    accepted, read = read_by_job(spec(task_options={text: text}))
    assert read == accepted
