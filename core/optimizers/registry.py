"""The update rules by their names in a spec."""

from espalier.core.loading.registry import Registry
from espalier.core.optimizers.optimizer import Optimizer

OPTIMIZERS: Registry[Optimizer] = Registry(
    "optimizer.kind",
    "core.optimizers.optimizer:Optimizer",
    {
        "sgd": "core.optimizers.sgd:SGD",
        "adam": "core.optimizers.adam:Adam",
        "adamw": "core.optimizers.adamw:AdamW",
    },
    "kind",
)
