"""The address of a webhook is a secret: what is written of a spec has its host alone, and no message shows it."""

from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.best_file import best_file_text
from espalier.sweeps.checks import lr_range
from espalier.sweeps.home import Home
from espalier.sweeps.identity import check_same_spec, spec_differences
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec import yaml12
from espalier.sweeps.spec.spec import make_spec, whole_fields
from tests.sweeps.made import spec_with

ADDRESS = "https://ada:hunter2@hooks.slack.com/services/T0SECRET/x9y8z7?token=abcd"
SECRETS = ("ada", "hunter2", "T0SECRET", "x9y8z7", "abcd", "services")


def without_secret(text: object) -> bool:
    return not any(secret in str(text) for secret in SECRETS)


def test_a_spec_is_written_with_the_host_alone() -> None:
    spec = spec_with(notify={"webhook": ADDRESS})
    assert spec.notify and spec.notify.webhook == ADDRESS
    for text in (spec.as_yaml(), spec.model_dump(), spec.model_dump(mode="json"), spec.model_dump_json()):
        assert "https://hooks.slack.com/***" in str(text) and without_secret(text)
    assert make_spec(whole_fields(spec), stored=True) == spec


def test_the_name_of_a_variable_is_no_secret() -> None:
    assert "${TEAM_WEBHOOK}" in spec_with(notify={"webhook": "${TEAM_WEBHOOK}"}).as_yaml()


def test_the_record_of_the_driver_has_the_address_and_no_copy_of_it(tmp_path: Any) -> None:
    spec = spec_with(notify={"webhook": ADDRESS})
    store = SweepStore.open(str(tmp_path / "optuna.journal"))
    assert store.create("warm-1", spec, {}).spec == spec
    assert store.load("warm-1").begun_spec.notify == spec.notify
    store.copy("warm-1", str(tmp_path / "copy.journal"), "")
    copied = SweepStore.open(str(tmp_path / "copy.journal")).load("warm-1").spec
    assert copied.notify and copied.notify.webhook == "https://hooks.slack.com/***"
    assert without_secret((tmp_path / "copy.journal").read_text())
    assert [note for note in copied.notes() if note.startswith("notify.webhook: its address is left out")]


def test_a_range_test_before_a_sweep_leaves_it_whom_to_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    class Test:
        interval = (-3.0, -2.0)

    monkeypatch.setattr(lr_range, "run_test", lambda spec: Test())
    monkeypatch.setattr(lr_range, "record_test", lambda *_: "run")
    spec = spec_with(space={"lr_exponent": "auto"}, notify={"webhook": ADDRESS})
    resolved, _ = lr_range.resolved(spec, Home(tmp_path))
    assert resolved.notify == spec.notify


def test_a_best_file_has_the_host_alone(tmp_path: Any) -> None:
    from espalier.sweeps.results.trial_result import TrialResult

    record = SweepStore.open(str(tmp_path / "optuna.journal")).create(
        "warm-1", spec_with(notify={"webhook": ADDRESS}), {"versions": {}, "code": "c", "data": "d", "lr": 1}
    )
    trial = TrialResult(0, "complete", 2.5, {"lr_exponent": -2.0}, None, "healthy", "")
    story: Any = {"members": [{"reports": [], "curve": []}], "program": "plain", "device": "cpu"}
    text = best_file_text(record, trial, story)
    assert without_secret(text) and yaml12.read(text, "best")["spec"]["notify"]["webhook"].endswith("/***")


def test_another_address_of_the_same_host_is_another_spec() -> None:
    one, other = (spec_with(notify={"webhook": f"https://host/{path}"}) for path in ("services", "T0SECRET"))
    with pytest.raises(BadInput, match=r"notify\.webhook \(another address there\)") as error:
        check_same_spec("warm-1", {}, one, other)
    assert without_secret(error.value)
    check_same_spec("warm-1", {}, one, one)
    assert without_secret(spec_differences(one, spec_with())) and spec_differences(one, spec_with())


@pytest.mark.parametrize(
    "address",
    [
        "hooks.slack.com/services/T0SECRET",
        "htps://ada:hunter2@host/x9y8z7",
        "https://ada:hunter2@host:port/x9y8z7",
        "https://[::1/T0SECRET",
        "https://host/T0SECRET x9y8z7",
        "${NAME}/T0SECRET",
        "https://host/T0SECRET/" + "x9y8z7" * 1000,
        ["https://host/T0SECRET"],
        {"https://host/T0SECRET": 1},
    ],
)
def test_a_message_on_a_wrong_address_does_not_show_it(address: Any) -> None:
    with pytest.raises(BadInput, match="notify") as error:
        spec_with(notify={"webhook": address})
    assert "write https://HOST/" in str(error.value) and without_secret(error.value)


@pytest.mark.parametrize("value", [ADDRESS, [ADDRESS], {"url": ADDRESS}, {"command": "say", "webhook": [ADDRESS]}])
def test_nor_does_one_on_an_address_at_a_wrong_place(value: Any) -> None:
    with pytest.raises(BadInput, match="notify") as error:
        spec_with(notify=value)
    assert without_secret(error.value)
