"""Where something is recorded, and where it goes on."""

from pathlib import Path

import pytest

from espalier.sweeps.recording.tracking_uri import default_uri, resolve_tracking_uri, tracking_origin


def test_a_record_goes_where_the_spec_says_else_where_the_environment_does_else_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = default_uri(tmp_path), "http://there:5000"
    assert resolve_tracking_uri(None, tmp_path) == here
    monkeypatch.setenv("MLFLOW_TRACKING_URI", there)
    assert resolve_tracking_uri(None, tmp_path) == there
    assert resolve_tracking_uri("http://spec:5000", tmp_path) == "http://spec:5000"


def test_a_sweep_stays_where_its_record_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home = tracking_origin(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000")
    at_a_server = tracking_origin(tmp_path)
    assert resolve_tracking_uri(None, tmp_path, at_home) == default_uri(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5999")  # the same one by another name
    assert resolve_tracking_uri(None, tmp_path, at_a_server) == "http://localhost:5999"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resolve_tracking_uri(None, tmp_path, at_a_server) == "http://there:5000"


def test_what_a_sweep_notes_of_a_server_has_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://joe:secret@there:5000")
    assert tracking_origin(tmp_path) == "http://joe:***@there:5000"
