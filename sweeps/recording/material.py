"""The material of a report, from a sweep's storage and its spool: nothing is asked of MLflow.

The spool is read in one pass, and little of each trial stays in memory.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from espalier.sweeps import identity
from espalier.sweeps.recording.names import STORY
from espalier.sweeps.recording.records import Record, TrialEnded, TrialReported, from_json
from espalier.sweeps.report.material import CURVE_MOST, Material, Ratios, Trace, Work, block_means
from espalier.sweeps.results.story import TrialStory
from espalier.sweeps.results.trial_result import TrialResult, best_trial
from espalier.sweeps.search.study import SweepRecord

TRAIN_LOSS = "train_loss"  # the metric of the training curve


def material_of(
    record: SweepRecord, state: str, trials: Sequence[TrialResult], traces: Mapping[int, Trace], option: str
) -> Material:
    """Return what a report of a sweep is made of. option: what a command needs to find it, after a space."""
    work = record.work.values()
    return Material(
        id=record.id,
        spec=record.spec,
        state=state,
        trials=trials,
        references=record.references,
        traces=traces,
        work=Work(sum(each.lane_steps for each in work), sum(each.steps_shared for each in work)) if work else None,
        begun=_begun(record),
        option=option,
        facts=_facts(record, trials),
    )


def _begun(record: SweepRecord) -> float | None:
    """Return when a sweep began, in seconds since 1970."""
    try:
        return datetime.fromisoformat(str(record.facts.get("created"))).timestamp()
    except ValueError:
        return None


def _facts(record: SweepRecord, trials: Sequence[TrialResult]) -> dict[str, str]:
    """Return what the best trial was trained with, and by which program; of a sweep without one, what it began with."""
    best = best_trial(trials, record.spec.objective.mode)
    made_with = identity.code_and_versions(record.facts, best.number if best else 0)
    programs = {"program": "; ".join(record.programs)} if record.programs else {}
    return {name.replace("_", " "): str(value) for name, value in made_with.items()} | programs


def traces_of(folder: Path, with_ratios: Collection[int]) -> dict[int, Trace]:
    """Return the trace of each trial that a sweep's folder has records of; none without records.

    with_ratios: the trials of which update ratios are wanted. A trial that has not ended has its reports so far,
    without ratios. The spool is only read: a driver may be writing it.
    """
    file = folder / "spool.jsonl"
    if not file.is_file():
        return {}
    ended: dict[int, Trace] = {}
    curves: dict[int, list[tuple[int, float | None]]] = {}
    for record in _records(file):
        if isinstance(record, TrialEnded) and STORY in record.texts:
            ended[record.trial] = _trace(json.loads(record.texts[STORY]), record.trial in with_ratios)
            curves.pop(record.trial, None)
        elif isinstance(record, TrialReported) and record.trial not in ended:
            points = [(int(step), loss) for name, step, loss in record.points if name == TRAIN_LOSS]
            curves.setdefault(record.trial, []).extend(points)
    return ended | {trial: Trace(block_means(curve)) for trial, curve in curves.items() if curve}


def _records(file: Path) -> Iterator[Record]:
    """Yield the records of a spool; a line that is being written, or that cannot be read, is left out."""
    with open(file, "rb") as lines:
        for text in lines:
            if text.endswith(b"\n") and (line := from_json(text)):
                yield line.record


def _trace(story: TrialStory, with_ratios: bool) -> Trace:
    """Return the trace of a trial's first replicate."""
    if not story["members"]:
        return Trace()
    first = {"curve": [], "tensors": [], "ratios": [], **story["members"][0]}  # earlier versions had fewer fields
    ratios = Ratios(first["tensors"], first["ratios"]) if with_ratios else Ratios()
    return Trace(block_means(first["curve"], CURVE_MOST), ratios)
