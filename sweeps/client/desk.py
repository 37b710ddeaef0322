"""A sweep seen from a desk while it runs on a cluster: handed in with its code, followed, shown."""

import io
import os
import secrets
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from espalier.core.errors import BadInput
from espalier.core.loading.dependencies import file_here, files_beside
from espalier.core.loading.folders import current_folder
from espalier.core.loading.references import parted
from espalier.sweeps.client.service import Remote
from espalier.sweeps.home import JOURNAL
from espalier.sweeps.results.formatting import decimals, params_text
from espalier.sweeps.results.trial_result import TrialResult, ranked
from espalier.sweeps.spec import paths
from espalier.sweeps.spec.references import map_references, references
from espalier.sweeps.spec.spec import SweepSpec, make_spec, read_fields

Say = Callable[[str], None]
HIDDEN = "__pycache__"
HOME_FILES = (JOURNAL, "service.db", "mlflow.db")  # what lies beside them are results, and perhaps a service's tokens


def handed_in(
    remote: Remote, path: str, assignments: Sequence[str], code: str | None, hours: float | None
) -> dict[str, Any]:
    """Hand a spec in, with the code that its task needs. Raises BadInput."""
    fields, source, folder = read_fields(path, assignments)
    spec = make_spec(paths.found_files(dict(fields), folder) if isinstance(fields, dict) else fields, source)
    archive = None
    named = references(spec.model_dump(mode="json"))
    sources = [source for reference in named if (source := _source(reference))]
    root = _root([folder for folder, _ in sources], code) if sources or code else None
    options, data = _options_inside(spec, root)
    if root:
        archive = packed(root, None if code else [*_with_imports(root, sources), *data])
        fields = _inside(fields, folder, root)
    return remote.submit(fields | options, archive, hours, secrets.token_hex(16))


def _options_inside(spec: SweepSpec, root: Path | None) -> tuple[dict[str, Any], list[Path]]:
    """Return the task's options with paths of files of the archive told from its root, and those files.

    Others are told as they are on this machine, which the service may share.
    """
    files: list[Path] = []

    def told(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [told(inner) for inner in value]
        if isinstance(value, Mapping):
            return {name: told(inner) for name, inner in value.items()}
        if root and isinstance(value, str) and value.startswith(f"{root}{os.sep}") and os.path.exists(value):
            files.extend([Path(value)] if os.path.isfile(value) else [])
            return Path(value).relative_to(root).as_posix()
        return value

    return {"task_options": told(spec.task_options)} if spec.task_options else {}, files


def _source(reference: str) -> tuple[Path, Path] | None:
    """Return the folder that a class is imported from and its file; None for one that is installed, as at the service.

    A file is imported from its own folder, a module from the current one.
    """
    source, _ = parted(reference)
    if source.endswith(".py"):
        return Path(source).parent, Path(source)
    file = file_here(source)
    return (current_folder(), file) if file else None


def _with_imports(root: Path, sources: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Return the files of (folder, file) with those below the root that they import, each as a path below the root."""
    real = Path(os.path.realpath(root))
    imported = [path for path in files_beside(sources) if path.is_relative_to(real)]
    return [*(file for _, file in sources), *(root / path.relative_to(real) for path in imported)]


def _root(folders: Sequence[Path], code: str | None) -> Path:
    """Return the folder that paths are told relative to: --code, or the one that the classes are imported from."""
    if code is not None:
        if not (folder := paths.argument(code)).is_dir():
            raise BadInput(f"--code {code}: no such folder")
        return folder.resolve()
    if len(set(folders)) > 1:
        raise BadInput(
            "the task and other code of yours lie in several folders; name one that holds all: --code FOLDER"
        )
    return folders[0]


def _inside(fields: Mapping[str, Any], folder: Path, root: Path) -> dict[str, Any]:
    """Return a spec's fields with references to code relative to the root of the archive.

    Raises BadInput for files outside.
    """

    def relative(reference: str) -> str:
        file, name = parted(paths.code_path(reference, folder))
        if not file.endswith(".py"):
            return reference
        if not Path(file).is_relative_to(root):
            raise BadInput(f"--code {root}: {file} lies outside; name a folder that holds it")
        return f"{Path(file).relative_to(root).as_posix()}:{name}"

    return map_references(fields, relative)


def packed(root: Path, files: Sequence[Path] | None = None) -> bytes:
    """Return some files of a folder as a zip archive, or all that are not hidden or made by running."""
    wanted = sorted(root.rglob("*")) if files is None else sorted(set(files))
    homes = {path.parent for path in wanted if path.name in HOME_FILES} - {root}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in wanted:
            inside = path.relative_to(root)
            hidden = any(part.startswith(".") or part == HIDDEN for part in inside.parts)
            hidden |= not homes.isdisjoint(path.parents)
            if path.is_file() and not path.is_symlink() and not hidden:
                entry = zipfile.ZipInfo(inside.as_posix())  # without times: equal code gives equal bytes
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def follow(remote: Remote, sweep: str, say: Say) -> dict[str, Any]:
    """Say what happens to a sweep until it is over; return it as it is then."""
    state, searched = "", remote.sweep(sweep)["searched"]
    for kind, data in remote.follow(sweep, "events"):
        if kind == "trial":
            say(trial_line(data, searched))
            continue
        now = state_line(sweep, data)
        if now != state:
            state = now
            say(now)
    return remote.sweep(sweep)


def trial_line(trial: dict[str, Any], searched: Sequence[str]) -> str:
    """Return one trial on a line, with those of its hyperparameters that were searched."""
    params = params_text(trial["params"], searched)
    value = decimals(trial["value"])
    return f"  trial {trial['number']:>4}  {trial['state']:<9} {value:>9}  {params}"


def state_line(sweep: str, view: dict[str, Any]) -> str:
    """Return where a sweep is on a line."""
    before = view.get("position")
    waits = f", {before} before it" if before else ""
    reason = f" ({view['reason']})" if view.get("reason") else ""
    trials = view["trials"]
    ended = f"{trials['ended']} of {trials['wanted']} trials ended"
    return f"{sweep}: {view['state']}{reason}{waits}; {ended}{best_text(view)}"


def best_text(view: dict[str, Any]) -> str:
    """Return the best so far, as the end of a line."""
    best = view.get("best")
    return f"; best {best['metric']} {decimals(best['value'])} (trial {best['trial']})" if best else ""


def table(views: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each sweep."""
    for view in views:
        ended, wanted = view["trials"]["ended"], view["trials"]["wanted"]
        best = best_text(view).removeprefix("; ") or "-"
        yield f"{view['id']:<36} {view['owner']:<12} {view['state']:<9} {ended:>4} of {wanted:<5} {best}"


def show_lines(view: dict[str, Any], trials: Sequence[dict[str, Any]], top: int) -> Iterator[str]:
    """Yield one sweep, its best trials with their verdicts, those that did not complete, and why each verdict holds."""
    yield state_line(view["id"], view)
    yield f"  owner    {view['owner']}"
    yield f"  ran      {view['seconds']:.0f} s of at most {view['hours']:g} h, attempt {view['attempt'] + 1}"
    if page := view["mlflow"].get("page"):
        yield f"  MLflow   {page}"
    counted = ", ".join(f"{n} {state}" for state, n in view["trials"].items() if n and state not in ("wanted", "ended"))
    yield f"  trials   {counted or 'none yet'}, of {view['trials']['wanted']}"
    by_number = {trial["number"]: trial for trial in trials}
    results = [TrialResult(t["number"], t["state"], t["value"], t["params"]) for t in trials]
    shown = [by_number[result.number] for result in ranked(results, view["mode"])[:top]]
    for trial in shown:
        yield f"{trial_line(trial, view['searched'])}  {trial['verdict']}".rstrip()
    for trial in shown:
        if trial["evidence"]:
            yield f"trial {trial['number']} {trial['verdict'] or trial['state']}: {trial['evidence']}"


def exit_code(view: dict[str, Any]) -> int:
    """Return what a script learns of how a sweep ended: 0 finished, 1 failed or nothing to show, 130 stopped."""
    if view["state"] == "stopped":
        return 130
    return 0 if view["state"] == "finished" and view["best"] else 1
