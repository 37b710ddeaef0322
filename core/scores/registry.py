"""The scores by their names in a spec."""

from espalier.core.loading.registry import Registry
from espalier.core.scores.score import Score

SCORES: Registry[Score] = Registry(
    "stopping.score",
    "core.scores.score:Score",
    {
        "probe": "core.scores.probe:Probe",
        "cooldown": "core.scores.cooldown:Cooldown",
        "average": "core.scores.average:Average",
        "value": "core.scores.value:Value",
    },
    "score",
)
