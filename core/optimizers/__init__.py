"""Update rules, one a file: pure updates of stacked rows, with one coefficient per lane."""

from espalier.core.optimizers.adam import Adam as Adam
from espalier.core.optimizers.adamw import AdamW as AdamW
from espalier.core.optimizers.optimizer import Optimizer as Optimizer
from espalier.core.optimizers.registry import OPTIMIZERS as OPTIMIZERS
from espalier.core.optimizers.sgd import SGD as SGD
