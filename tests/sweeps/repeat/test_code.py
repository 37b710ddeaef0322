"""A rerun trains with the code that is recorded, wherever it is, or with today's; and says what differs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from espalier.core.errors import BadInput
from espalier.core.loading.folders import current_folder, restoring_folder, use_copy
from espalier.core.task import code_fingerprint, load_task
from espalier.core.training.events import Ended
from espalier.services.reading.best import as_submitted
from espalier.sweeps import cohorts, identity
from espalier.sweeps.best_file import best_file_text
from espalier.sweeps.code import in_file
from espalier.sweeps.code.copies import keep, laid_out
from espalier.sweeps.code.environment import Environment, differences, environment
from espalier.sweeps.code.sources import sources_of
from espalier.sweeps.engine import make_cohort
from espalier.sweeps.home import Home
from espalier.sweeps.repeat.here import rerun_here
from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
from espalier.sweeps.spec.spec import load_spec
from tests.sweeps.code.project import SPEC, make_project
from tests.sweeps.made import row
from tests.sweeps.test_best_file import study_of

SWEEP = "warm-20260101-abcd"


class Trained:
    """A trial that was trained in a home, and its best file."""

    def __init__(self, folder: Path, project: Path | None = None):
        self.project, self.home = make_project(project or folder / "project"), Home.at(folder / "home")
        (self.project / "spec.yaml").write_text(yaml.safe_dump(SPEC))
        spec = load_spec(str(self.project / "spec.yaml"))
        self.folder = self.home.sweep(SWEEP)
        kept = keep(sources_of(spec), project or current_folder(), self.folder, 32.0)
        assert kept
        point = cohorts.first_point(spec)
        with restoring_folder():
            use_copy(laid_out(self.folder, kept.fact()))
            task = load_task(spec.task, {})
            facts: dict[str, Any] = {"code": code_fingerprint(task), "data": task.data().fingerprint()}
            facts |= {identity.ENVIRONMENT: environment().write(self.home.path), identity.COPY: kept.fact()}
            cohort = make_cohort(spec, [PlannedTrial(3, point)], Provenance("plain", "", 1, "cpu"))
            (end,) = [event for event in cohort.train() if isinstance(event, Ended)]
        story: Any = {"program": "plain", "device": "cpu", "members": [{"reports": end.reports}]}
        self.value = end.values["valid_loss"]
        self.record, self.row = study_of(spec, **facts), row(3, self.value, params=point)
        self.story = story

    @property
    def best(self) -> str:
        return best_file_text(self.record, self.row, self.story, self.folder)

    def without_archive(self) -> str:
        content = yaml.safe_load(self.best)
        del content["code"]["archive"]
        return yaml.safe_dump(content)

    def edit(self) -> None:
        (self.project / "nets.py").write_text("SLOPE = 4.0\n")

    def rerun(self, text: str, home: Path | None = None, **more: Any) -> Any:
        return rerun_here(text, "best.yaml", home=Home.at(home, reading=True) if home else self.home, **more)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Trained(tmp_path)


def test_a_best_file_that_holds_its_code_is_trained_again_bit_for_bit_after_an_edit(
    trained: Trained, tmp_path: Path
) -> None:
    """In a home that knows nothing of it, without the files."""
    text, said = trained.best, list[str]()
    trained.edit()
    (trained.project / "mytask.py").unlink()
    outcome = trained.rerun(text, tmp_path / "elsewhere", announce=said.append)
    assert outcome.reproduced and outcome.value == trained.value and not outcome.surroundings
    assert said == [f"training trial 3 of {SWEEP} again: 40 steps, with the code that best.yaml holds (7 files)"]
    assert "which runs the code that this file holds" in text.splitlines()[0]


def test_todays_code_is_trained_where_that_is_asked_for_and_what_differs_is_said(trained: Trained) -> None:
    text = trained.best
    assert trained.rerun(text, code="here").reproduced
    trained.edit()
    (trained.project / "mytask.py").write_text((trained.project / "mytask.py").read_text() + "\n# edited\n")
    again = trained.rerun(text, code="here")
    assert again.surroundings[-1] == "mytask.py and nets.py have changed since"
    assert any(line.startswith("code: ") for line in again.surroundings)
    assert trained.rerun(text).reproduced


def test_code_too_large_for_a_best_file_is_found_in_the_home(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_file, "MOST_KIB", 0.1)
    text, said = trained.best, list[str]()
    assert "archive" not in yaml.safe_load(text)["code"] and "this file holds" not in text
    trained.edit()
    assert trained.rerun(text, announce=said.append).reproduced
    assert said[0].endswith("with the recorded code (7 files)")


def test_code_that_no_home_has_is_fetched_from_mlflow(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = next((trained.folder / "code").glob("*.zip")).read_bytes()

    def fetch(uri: str, sweep: str, digest: str) -> bytes:
        assert (sweep, digest) == (SWEEP, yaml.safe_load(trained.best)["code"]["hash"])
        return archive

    monkeypatch.setattr("espalier.sweeps.repeat.code.fetch_archive", fetch)
    trained.edit()
    said = list[str]()
    assert trained.rerun(trained.without_archive(), tmp_path / "elsewhere", announce=said.append).reproduced
    assert said[0].endswith("with the code recorded in MLflow (7 files)")


def test_code_that_is_nowhere_is_todays_if_that_is_the_same_else_one_line_says_what_to_do(
    trained: Trained, tmp_path: Path
) -> None:
    text, elsewhere = trained.without_archive(), tmp_path / "elsewhere"
    assert trained.rerun(text, elsewhere).reproduced
    (trained.project / "mytask.py").unlink()
    with pytest.raises(BadInput, match=r"is not here: neither best.yaml, nor .*--code here") as refused:
        trained.rerun(text, elsewhere)
    assert "\n" not in str(refused.value)


def test_another_code_than_the_recorded_one_is_not_trained_in_its_place(trained: Trained, tmp_path: Path) -> None:
    text = trained.without_archive()
    (trained.project / "mytask.py").write_text((trained.project / "mytask.py").read_text() + "\n# edited\n")
    with pytest.raises(BadInput, match="today's is another"):
        trained.rerun(text, tmp_path / "elsewhere")


def test_an_archive_that_is_not_what_its_hash_says_is_refused_in_one_line(trained: Trained) -> None:
    content = yaml.safe_load(trained.best)
    for archive in ("AAAA", "?", content["code"]["archive"][:-40]):
        changed = content | {"code": content["code"] | {"archive": archive}}
        with pytest.raises(BadInput, match=r"best.yaml: code.archive: it is not what code.hash says") as refused:
            trained.rerun(yaml.safe_dump(changed))
        assert "\n" not in str(refused.value)
    changed = content | {"code": content["code"] | {"hash": "../../../../etc"}}
    with pytest.raises(BadInput, match=r"best.yaml: code.hash: "):
        trained.rerun(yaml.safe_dump(changed))


def test_a_best_file_of_an_earlier_version_trains_todays_code(trained: Trained) -> None:
    old = {k: v for k, v in yaml.safe_load(trained.best).items() if k not in ("code", "environment")}
    assert trained.rerun(yaml.safe_dump(old)).reproduced


def test_the_best_file_of_a_service_trains_at_the_desk_of_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names files as they were submitted, and nothing of the cluster; what the archive lacks is read at the desk."""
    unpacked = tmp_path / "cluster" / "code" / ("0" * 64)
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked.parent)
    trained = Trained(unpacked.parent, unpacked)
    (unpacked / "data" / "large.txt").unlink()  # git ignores it, so a copy has a link
    submitted: Any = as_submitted(yaml.safe_load(trained.best), {"task": "mytask.py:Line"})
    text = yaml.safe_dump(dict(submitted))
    assert "cluster" not in text and submitted["spec"]["task"] == "mytask.py:Line"
    desk = make_project(tmp_path / "desk" / "project")
    (desk / "offset.txt").write_text("0")
    (desk / "nets.py").write_text("SLOPE = 4.0\n")
    monkeypatch.chdir(desk)
    assert trained.rerun(text, tmp_path / "elsewhere").reproduced
    assert "nets.py has changed since" in trained.rerun(text, tmp_path / "elsewhere", code="here").surroundings


def test_submitted_code_too_large_for_a_best_file_is_found_in_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_file, "SUBMITTED_KIB", 0.1)
    unpacked = tmp_path / "cluster" / "code" / ("0" * 64)
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked.parent)
    trained = Trained(unpacked.parent, unpacked)
    content: Any = as_submitted(yaml.safe_load(trained.best), {"task": "mytask.py:Line"})
    text = yaml.safe_dump(dict(content))
    assert "archive" not in content["code"] and "cluster" not in text
    archive = (trained.folder / "code" / f"{content['code']['hash']}.zip").read_bytes()
    monkeypatch.setattr("espalier.sweeps.repeat.code.fetch_archive", lambda uri, sweep, digest: archive)
    desk, said = make_project(tmp_path / "desk" / "project"), list[str]()
    (desk / "offset.txt").write_text("0")
    (desk / "nets.py").write_text("SLOPE = 4.0\n")
    monkeypatch.chdir(desk)
    assert trained.rerun(text, tmp_path / "elsewhere", announce=said.append).reproduced
    assert said[0].endswith("with the code recorded in MLflow (7 files)")


def test_a_file_that_was_too_large_to_be_recorded_and_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    project = make_project(tmp_path / "project")
    weights = project / "weights.bin"
    weights.write_bytes(bytes(3 << 19))
    trained, said = Trained(tmp_path), list[str]()
    text = trained.best
    trained.rerun(text, announce=said.append)
    weights.unlink()
    trained.rerun(text, announce=said.append)
    assert "weights.bin" not in said[0]
    assert said[1].endswith("; too large to be recorded, and not here: weights.bin (1.5 MiB, more than 1)")


def test_of_the_environment_what_matters_is_named_and_the_rest_is_counted() -> None:
    packages = {"numpy": "1.26", "click": "8", "einops": "0.7"}
    then = Environment("3.11.7", "Linux", "2.3", "12.1", "550", ["H100"], packages)
    now = Environment("3.12.1", "Linux", "2.4", packages=packages | {"numpy": "2.0", "click": "9", "rich": "13"})
    assert list(differences(then, now, ["numpy", "einops"])) == [
        "python: 3.11.7 then, 3.12.1 now",
        "torch: 2.3 then, 2.4 now",
        "cuda: 12.1 then, none now",
        "driver: 550 then, none now",
        "gpus: H100 then, none now",
        "numpy: 1.26 then, 2.0 now",
        "2 other packages: another version, or there once alone",
    ]
    assert list(differences(then, then, [])) == []
