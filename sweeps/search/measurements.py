"""What is measured of trials while they train, written into Optuna's storage: reports, scores, and why they stop."""

from collections.abc import Sequence

from espalier.sweeps.search.asking import Asker
from espalier.sweeps.search.trial_events import Outcome, Report, Score
from espalier.sweeps.search.trial_record import RungScore, TrialRecord


class Measurements:
    """Writes each measurement once, though events are repeated after a crash."""

    def __init__(self, asker: Asker, metric: str, trials: Sequence[TrialRecord]):
        """metric: of the objective. trials: with what earlier processes have written."""
        self.asker, self.metric = asker, metric
        self.reported = {(trial.number, step) for trial in trials for step in trial.reports}
        self.scored = {(trial.number, rung) for trial in trials for rung in trial.scores}

    def report(self, report: Report) -> None:
        """Write a report."""
        value = report.values.get(self.metric)
        if value is not None and (report.trial, report.step) not in self.reported:
            self.reported.add((report.trial, report.step))
            self.asker.trials[report.trial].report(value, report.step)

    def score(self, score: Score) -> None:
        """Write a score."""
        if (score.trial, score.step) not in self.scored:
            self.scored.add((score.trial, score.step))
            value = score.values.get(self.metric)
            self.asker.trials[score.trial].set_score(score.step, RungScore(value, score.leader))

    def stop(self, outcome: Outcome) -> None:
        """Write why a trial stops. Without a report, its value is its score at the last rung."""
        trial = self.asker.trials[outcome.trial]
        worth = {rung: score.value for rung, score in trial.scores().items() if score.value is not None}
        if worth and not any(number == outcome.trial for number, _ in self.reported):
            trial.report(worth[max(worth)], max(worth))
        trial.set_stop(outcome)
