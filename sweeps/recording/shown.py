"""What MLflow's pages show of a sweep beside its numbers: the answer, a table of its trials, its data."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from espalier.sweeps import identity
from espalier.sweeps.answer.answer import Answer
from espalier.sweeps.recording.names import (
    BIRTH_TAG,
    LINKS,
    STATUS_TAG,
    SWEEP_TAG,
    TRIAL_TAG,
    VERDICT_TAG,
    decay_name,
    mlflow_name,
)
from espalier.sweeps.results.noise import noise_line
from espalier.sweeps.results.trial_result import TrialResult, searched
from espalier.sweeps.spec.spec import SweepSpec

NOISE = "noise: "  # how the answer's sentence on noise begins
TIES_NAMED = 20
COLUMNS_MOST = 8  # searched hyperparameters in the table of trials


# --- the sweep's own run ----------------------------------------------------------------------------------------------


def description(answer: Answer, sweep: str) -> str:
    """Return the answer of a sweep as Markdown, with a place for links, and how to go on.

    MLflow shows the first lines and hides the others behind a button: so the links come second.
    """
    first, *others = answer.sentences
    listed = "\n".join(f"- {line}" for line in others)
    if answer.best is None:
        return "\n\n".join(part for part in (f"**{first}**", LINKS, listed) if part)
    commands = (
        f"Pull it: `sweep best {sweep} > best.yaml`; train it again: `sweep rerun best.yaml`; "
        f"why, and what next: `sweep explain {sweep}`."
    )
    return f"**Best: {first}**\n\n{LINKS}\n\n{listed}\n\n{commands}"


def noise_text(answer: Answer) -> str:
    """Return what is known of the noise of another seed, and of ties, in the words of the spec's author."""
    lines = (line for line in answer.sentences if line.startswith(NOISE))
    return next(lines, noise_line(answer.noise, answer.ties)).removeprefix(NOISE)


def ties_text(trials: Sequence[int]) -> str:
    """Return the numbers of tied trials, the best first.

    >>> ties_text([12, 3]), ties_text([])
    ('12, 3', 'none')
    >>> ties_text(list(range(250))).rpartition(",")[2]
    ' 19 and 230 more'
    """
    named = ", ".join(map(str, trials[:TIES_NAMED])) or "none"
    return f"{named} and {len(trials) - TIES_NAMED} more" if len(trials) > TIES_NAMED else named


def source_tags(spec: SweepSpec, facts: identity.Facts) -> dict[str, str]:
    """Return what MLflow shows as the source of a run: what is trained, at which commit."""
    commit = {"mlflow.source.git.commit": str(facts["git_commit"])} if "git_commit" in facts else {}
    return {"mlflow.source.name": spec.trained, "mlflow.source.type": "LOCAL"} | commit


def best_so_far(trials: Sequence[TrialResult], mode: str) -> Iterator[tuple[int, float]]:
    """Yield how many trials had ended, and the best value among them: at each that was better, and at the last.

    >>> rows = [TrialResult(n, "complete", value, {}) for n, value in enumerate((3.0, 2.0, 2.5))]
    >>> list(best_so_far(rows, "min")), list(best_so_far(rows, "max"))
    ([(1, 3.0), (2, 2.0), (3, 2.0)], [(1, 3.0), (3, 3.0)])
    """
    ended = sorted(searched(trials), key=lambda t: (math.inf if t.ended is None else t.ended, t.number))
    sign, best = 1 if mode == "min" else -1, math.inf
    for count, trial in enumerate(ended, 1):
        value = trial.value if trial.state == "complete" else None
        better = value is not None and sign * value < best
        if value is not None and better:
            best = sign * value
        if math.isfinite(best) and (better or count == len(ended)):
            yield count, sign * best


# --- the table of its trials ------------------------------------------------------------------------------------------


def trials_view(sweep: str, birth: str, spec: SweepSpec) -> dict[str, object]:
    """Return the view of a sweep's trials, the best first: the objective, the verdict and what was searched.

    Its fields are those that MLflow 3.17 stores. An unknown one is ignored there, a missing one has its default.
    birth: of the sweep, "" if it has none.
    """
    tags = [VERDICT_TAG, *([STATUS_TAG] if spec.scored else [])]  # then some have not trained to the end
    params, ascending = _searched(spec)[:COLUMNS_MOST], spec.objective.mode == "min"
    metric = f"metrics.`{mlflow_name(spec.objective.metric)}`"
    born = f" and tags.`{BIRTH_TAG}` = '{birth}'" if birth else ""
    return {
        "searchFilter": f"tags.`{SWEEP_TAG}` = '{sweep}'{born} and tags.`{TRIAL_TAG}` != ''",
        "orderByKey": metric,
        "orderByAsc": ascending,
        "selectedColumns": [
            metric,
            *(f"params.`{mlflow_name(name)}`" for name in params),
            *(f"tags.`{tag}`" for tag in tags),
        ],
    }


def _searched(spec: SweepSpec) -> list[str]:
    """Return what was searched by the names of params, as `shown_params` has them, the rate and the decay first."""
    names = [name for name, _ in spec.space.domains() if name != "seed"]
    rate = ["lr" if spec.space.lr is not None else "peak_lr"] if "lr_exponent" in names else []
    points = [name for name in names if name.startswith("decay_poi")]
    others = [name for name in names if name not in ("lr_exponent", *points)]
    return [*rate, *map(decay_name, range(len(points))), *others]


# --- its data ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DatasetRef:
    """Data that a sweep trained on. source: what makes them, without folders. commit: of git, "" if unknown."""

    name: str
    digest: str
    source: str
    commit: str = ""


def datasets_of(spec: SweepSpec, facts: identity.Facts) -> list[DatasetRef]:
    """Return the data of a task: one for each digest that it had. Of a function or a command nothing is known."""
    if spec.is_foreign:
        return []
    made_by = spec.task.rpartition("/")[2]
    called = made_by.rpartition(":")[2]
    datasets: dict[str, DatasetRef] = {}
    for period in identity.periods(facts):
        for kind, more in (("data", ""), ("data.others", " (other choices)")):
            if digest := str(period.get(kind, "")):
                commit = str(period.get("git_commit", ""))
                datasets.setdefault(digest, DatasetRef(called + more, digest, made_by, commit))
    return [*datasets.values()]
