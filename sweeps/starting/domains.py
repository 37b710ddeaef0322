"""Domains for arguments of training code, by their names and defaults.

Searched is what most trainings are sensitive to and what costs no more: rates, decay, momentum, dropout, the batch
size, and what is a choice or a switch by itself. What only changes where files lie, how often something is printed, or
how large a model is, keeps its default.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from espalier.sweeps.spec.domains import same
from espalier.sweeps.spec.parts import STEPS_MOST
from espalier.sweeps.starting.arguments import Argument
from espalier.sweeps.starting.words import as_list, as_mapping

DECADES = 2.0  # of a rate, around its default
RATES = (1e-4, 1e-1)  # of one without a default
BEYOND = 1e100  # larger defaults say "without a limit"
CHOICES_MOST = 12  # longer lists are of models or data sets


def _rate(argument: Argument) -> Any:
    low, high = RATES
    if isinstance(argument.default, int | float) and argument.default > 0:
        low, high = (_rounded(argument.default * 10.0**end) for end in (-DECADES / 2, DECADES / 2))
    return {"low": low, "high": high, "log": True}


def _decay(argument: Argument) -> Any:
    if isinstance(argument.default, int | float) and argument.default > 0:
        return _rate(argument)
    return [0.0, 1e-4, 1e-2]


def _momentum(argument: Argument) -> Any:
    default = argument.default
    if not isinstance(default, int | float) or not default:
        return [0.0, 0.9]
    return {"low": min(0.8, default), "high": max(0.99, default)}


def _dropout(argument: Argument) -> Any:
    default = argument.default if isinstance(argument.default, int | float) else 0.0
    return {"low": 0.0, "high": 0.5 if default <= 0.4 else 0.8}


def _betas(argument: Argument) -> Any:
    default = argument.default
    if isinstance(default, list | tuple):
        pair: list[Any] = [*default]  # pyright: ignore[reportUnknownVariableType]
        return {"choices": [pair, *([b for b in ([0.9, 0.95], [0.9, 0.999]) if b != pair])]}
    return {"choices": [[0.9, 0.999], [0.9, 0.95]]} if argument.count == 2 or not argument.option else None


def _batch(argument: Argument) -> Any:
    """Return the default between powers of two."""
    default = argument.default if isinstance(argument.default, int) and argument.default > 0 else 32
    below, above = (2 ** end(math.log2(default)) for end in (math.floor, math.ceil))
    values = {below, default, above} if below < above else {max(default // 2, 1), default, 2 * default}
    return sorted(values)


def _smoothing(argument: Argument) -> Any:
    return {"low": 0.0, "high": 0.2}


def _share(argument: Argument) -> Any:
    return {"low": 0.0, "high": 0.2} if not isinstance(argument.default, int | float) or argument.default < 1 else None


MEANINGS: Sequence[tuple[str, Callable[[Argument], Any]]] = (
    (r"min_lr|final_lr|lr_(min|end|final|floor)|end_lr", lambda argument: None),
    (r"(base_|max_|peak_|init_|initial_|head_|backbone_|\w+_)?(lr|learning_rate)|learningrate|eta|lr_init", _rate),
    (r"weight_decay|wd|l2|weight_?decay_\w+|l2_\w+", _decay),
    (r"momentum", _momentum),
    (r"\w*dropout\w*|drop_path(_rate)?|drop(_rate)?|\w+_pdrop|p_drop", _dropout),
    (r"(adam_)?beta_?1|adam_b1|b1", lambda argument: [0.8, 0.9, 0.95]),
    (r"(adam_)?beta_?2|adam_b2|b2", lambda argument: [0.95, 0.99, 0.999]),
    (r"(adam_)?betas", _betas),
    (r"label_smoothing(_factor)?|smoothing", _smoothing),
    (r"warm_?up(_ratio|_share|_fraction|_frac)?", _share),
    (r"((mini|train|per_device_train|micro)_?)?(batch(_size)?|batchsize|bs)", _batch),
)
"""By the pattern of a plain name, what returns the domain for an argument; None of it: it keeps its default."""

SEED = re.compile(r"(random_|rng_|manual_|global_|torch_)?(seed|random_state)")
STEPS = re.compile(
    r"(n_?|num_?|max_?|total_?|train(ing)?_?)*(steps|iters|iterations|updates|max_iter|n_iter|max_step)", re.IGNORECASE
)
EPOCHS = re.compile(r"(n_?|num_?|max_?|total_?|train(ing)?_?)*epochs?")
_STEPS_OF_ELSE = re.compile(r"(warm_?up|eval|val|test|log|save|accum|grad|print|valid)\w*")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FIRST_WORDS = _words(
    """
    log logging save print eval evaluate test do wandb mlflow tensorboard report push hub dist ddp fsdp
    dataloader load overwrite skip ignore fast install show dry debug verbose quiet plot profile disable export
    download find local keep only cache
    """
)
LAST_WORDS = _words(
    """
    from path paths dir dirs directory file files filename folder root output out dataset datasets data corpus
    checkpoint checkpoints checkpointing ckpt resume restart config cfg name project entity tag url host port
    tokenizer model arch architecture backbone version help user token split task mode loss criterion metric
    metrics pretrained device devices gpu gpus cuda mps cpu backend nodes workers memory amp fp16 bf16 tf32 half
    dtype precision compile jit verbose quiet debug run profile profiler progress bar silent test eval evaluate
    train interval every freq wandb mlflow tensorboard tracking logger log logging cache deterministic benchmark
    save plot download strategy tqdm distributed parallel accelerator level color
    """
)
"""First and last words of plain names whose switches and choices change nothing that is worth searching."""


@dataclass(frozen=True)
class Suggestion:
    """What becomes of an argument. domain: as a spec writes it, None if the argument keeps its default."""

    argument: Argument
    domain: Any = None


def suggestion(argument: Argument) -> Suggestion:
    """Return the domain that an argument is searched in, by its name, its default and its choices.

    >>> suggestion(Argument("lr", default=0.01)).domain, suggestion(Argument("out-dir", default="out")).domain
    ({'low': 0.001, 'high': 0.1, 'log': True}, None)
    >>> suggestion(Argument("batch-size", default=48)).domain, suggestion(Argument("opt", choices=("a", "b"))).domain
    ([32, 48, 64], ['a', 'b'])
    >>> suggestion(Argument("momentum", default=(0.9, 0.99))).domain, suggestion(Argument("momentum", default=0)).domain
    (None, [0.0, 0.9])
    """
    if argument.positional or is_seed(argument) or counts_steps(argument) or counts_epochs(argument):
        return Suggestion(argument)
    for pattern, domain in MEANINGS:
        if re.fullmatch(pattern, argument.plain_name) and not argument.flag and argument.kind not in ("bool", "str"):
            if type(argument.default) in (list, tuple) and domain is not _betas:
                return Suggestion(argument)  # several numbers: only of betas it is known what they are
            return Suggestion(
                argument, domain(argument if _usable(argument.default) else replace(argument, default=None))
            )
    words = argument.plain_name.strip("_").split("_")
    if words[0] in FIRST_WORDS or words[-1] in LAST_WORDS:
        return Suggestion(argument)
    return Suggestion(argument, _by_kind(argument))


def _by_kind(argument: Argument) -> Any:
    if argument.flag or (argument.kind == "bool" and not argument.choices):
        return [False, True]
    if 2 <= len(argument.choices) <= CHOICES_MOST and argument.count == 1:
        return list(argument.choices)
    return None


def holds(domain: Any, value: Any) -> bool:
    """Whether a domain has a value.

    >>> holds({"low": 0.1, "high": 0.5}, 0.1), holds([16, 32], 8), holds({"choices": [[0.9, 0.99]]}, [0.9, 0.99])
    (True, False, True)
    """
    fields = as_mapping(domain)
    if fields is None:
        return any(same(value, each) for each in as_list(domain))
    if "low" in fields:
        return isinstance(value, int | float) and fields["low"] <= value <= fields["high"]
    return any(same(value, each) for each in fields["choices"])


def is_seed(argument: Argument) -> bool:
    """Whether an argument is the seed."""
    return SEED.fullmatch(argument.plain_name) is not None and not argument.flag


def counts_steps(argument: Argument) -> bool:
    """Whether an argument says how many steps a trial trains."""
    return _counts(STEPS, argument)


def counts_epochs(argument: Argument) -> bool:
    """Whether an argument says how many epochs a trial trains."""
    return _counts(EPOCHS, argument)


def _counts(pattern: re.Pattern[str], argument: Argument) -> bool:
    name = argument.plain_name
    takes = not argument.flag and not argument.choices and argument.kind not in ("bool", "str")
    return takes and pattern.fullmatch(name) is not None and not _STEPS_OF_ELSE.match(name)


def whole_steps(default: Any) -> int | None:
    """Return a default as a number of steps of a spec; None if it is none, or says "without a limit".

    >>> whole_steps(300), whole_steps(2.0), whole_steps(0), whole_steps(10**12), whole_steps("300")
    (300, 2, None, None, None)
    """
    is_number = isinstance(default, int | float) and not isinstance(default, bool)
    return int(default) if is_number and 1 <= default <= STEPS_MOST else None


def _usable(default: Any) -> bool:
    """Whether a range can be made around a default: not around NaN, infinity, or an integer of hundreds of digits."""
    return not isinstance(default, int | float) or abs(default) < BEYOND


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
