"""What a source says of its results: metrics that it reports, logs or prints, and a pattern for what it prints."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from espalier.core.errors import BadInput
from espalier.core.foreign.output import STEP, compiled
from espalier.sweeps.spec.meaning import is_loss
from espalier.sweeps.starting.python_source import Source

STEPS = (*STEP, "it", "i", "i_step", "iter_num", "iteration_num", "step_num", "epoch_num", "batch_idx", "t", "steps")
_VALIDATION = re.compile(r"valid|val|eval|dev|test", re.IGNORECASE)
_QUALITY = re.compile(r"acc|f1|auc|score|bleu|rouge|iou|dice|r2|precision|recall|map|reward|return|psnr", re.IGNORECASE)
_LOSS = re.compile(r"loss|err|mse|mae|perplexity|ppl|nll|bpc|bpb", re.IGNORECASE)
_NUMBER, _WHOLE = r"[-+.\w]+", r"\d+"
_LOGGERS = {"log", "log_metrics", "log_metric", "add_scalar", "log_dict"}


@dataclass
class Results:
    """What was found. reported: names given to `report`; logged: to a logger; package: that of the logger, "" if there

    is none; printed: in lines of JSON. patterns: for lines that are printed, each with the names of its groups.
    takes_report: whether it imports `report`, or calls it.
    """

    reported: list[str] = field(default_factory=list[str])
    logged: list[str] = field(default_factory=list[str])
    package: str = ""
    printed: list[str] = field(default_factory=list[str])
    patterns: list[tuple[str, Sequence[str]]] = field(default_factory=list[tuple[str, Sequence[str]]])
    reads_wandb_config: bool = False

    @property
    def names(self) -> list[str]:
        """All names of metrics, those first that need nothing further."""
        of_patterns = [name for _, names in self.patterns for name in names if name != "step"]
        return [*dict.fromkeys([*self.reported, *self.printed, *of_patterns, *self.logged])]

    def objective(self) -> tuple[str, str] | None:
        """Return the metric that is most likely the objective, and its mode; None where no name looks like one.

        >>> Results(reported=["train_loss", "val_acc", "val_loss"]).objective()
        ('val_loss', 'min')
        """
        rated = [(rank, name) for name in self.names if (rank := _rank(name))]
        if not rated:
            return None
        name = max(rated, key=lambda pair: pair[0])[1]
        return name, "min" if is_loss(name) or _LOSS.search(name) else "max"

    def pattern_for(self, metric: str) -> str:
        """Return a pattern that finds a metric in what is printed, "" where none is needed or known."""
        if metric in self.reported or metric in self.printed:
            return ""
        return next((pattern for pattern, names in self.patterns if metric in names), "")


def _rank(name: str) -> int:
    """Return how likely a metric is the objective, 0 if it is none."""
    loss, quality = bool(_LOSS.search(name)), bool(_QUALITY.search(name))
    return (loss or quality) * (1 + 4 * bool(_VALIDATION.search(name)) + loss - 2 * ("train" in name.lower()) + 2)


def results_of(sources: Sequence[Source], within: str = "") -> Results:
    """Return what sources say of results. within: the one function that counts, "" for all of them."""
    results = Results()
    for source in sources:
        roots: list[ast.AST] = [source.tree]
        if within in source.definitions:
            called = {
                n.func.id for n in ast.walk(source.tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
            }
            helpers = [node for name, node in source.definitions.items() if name in called]
            roots = [source.definitions[within], *helpers]
        for root in roots:
            for node in ast.walk(root):
                _take(node, results)
    return results


def _take(node: ast.AST, results: Results) -> None:
    if isinstance(node, ast.Attribute) and node.attr == "config" and isinstance(node.value, ast.Name):
        results.reads_wandb_config |= node.value.id == "wandb"
    if not isinstance(node, ast.Call):
        return
    name = _name(node.func)
    if name == "report":
        results.reported += [
            keyword.arg for keyword in node.keywords if keyword.arg and keyword.arg not in ("score", "ratios")
        ]
    elif name in _LOGGERS:
        if names := [*_logged(node)]:
            results.logged += names
            results.package = results.package or _package(node.func)
    elif name in ("print", "write", "info", "echo"):
        _take_print(node, results)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _package(function: ast.expr) -> str:
    root = function
    while isinstance(root, ast.Attribute):
        root = root.value
    return root.id if isinstance(root, ast.Name) else ""


def _logged(node: ast.Call) -> Iterator[str]:
    for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
        if isinstance(argument, ast.Dict):
            yield from _keys(argument)
    first = node.args[0] if node.args else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str) and len(node.args) > 1:
        yield first.value


def _keys(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Dict):
        yield from (key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
    elif isinstance(node, ast.Call) and _name(node.func) == "dict":
        yield from (keyword.arg for keyword in node.keywords if keyword.arg)


# --- what is printed -------------------------------------------------------------------------------------------------

Piece = str | ast.expr
"""A piece of a printed line: its text, or the expression whose value stands there."""


def _take_print(node: ast.Call, results: Results) -> None:
    for argument in node.args:
        if isinstance(argument, ast.Call) and _name(argument.func) == "dumps" and argument.args:
            names = [*_keys(argument.args[0])]
            if {*names} & {*STEP}:
                results.printed += [name for name in names if name not in STEP]
            return
    if pattern := pattern_of(_pieces(node.args)):
        results.patterns.append(pattern)


def _pieces(arguments: Sequence[ast.expr]) -> list[Piece]:
    pieces: list[Piece] = []
    for place, argument in enumerate(arguments):
        pieces += ([" "] if place else []) + _pieces_of(argument)
    return pieces


def _pieces_of(node: ast.expr) -> list[Piece]:
    """Return what an argument of print contributes to the line."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return [piece for value in node.values for piece in _pieces_of(value)]
    if isinstance(node, ast.FormattedValue):
        return [node.value]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _pieces_of(node.left) + _pieces_of(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant):
        values = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
        return _filled(re.split(r"%[-+#0-9.]*[a-zA-Z]", str(node.left.value)), values)
    if isinstance(node, ast.Call) and _name(node.func) == "format" and isinstance(node.func, ast.Attribute):
        template = node.func.value
        if isinstance(template, ast.Constant) and isinstance(template.value, str):
            return _filled(re.split(r"\{[^{}]*\}", template.value), node.args)
    if isinstance(node, ast.Call) and _name(node.func) == "str" and len(node.args) == 1:
        return [node.args[0]]
    return [node]


def _filled(texts: Sequence[str], values: Sequence[ast.expr]) -> list[Piece]:
    if len(texts) != len(values) + 1:
        return []
    return [texts[0], *(piece for pair in zip(values, texts[1:], strict=True) for piece in pair)]


def pattern_of(pieces: Sequence[Piece]) -> tuple[str, Sequence[str]] | None:
    """Return a regular expression for a printed line, with the names of its groups; None without a metric in it.

    >>> line = ast.parse("f'step {i}: train loss {a:.4f}, val loss {b:.4f}'", mode="eval").body
    >>> print(pattern_of(_pieces_of(line))[0])
    step\\s+(?P<step>\\d+).*?train\\s+loss\\s+(?P<train_loss>[-+.\\w]+).*?val\\s+loss\\s+(?P<val_loss>[-+.\\w]+)
    """
    parts: list[str] = []
    names: list[str] = []
    before, sample = "", ""
    for piece in pieces:
        if isinstance(piece, str):
            before += piece
            sample += piece
            continue
        label, text = _label(before)
        name = _group(label, piece)
        sample += "1"
        if name and name not in names:
            names.append(name)
            parts.append(f"{text}(?P<{name}>{_WHOLE if name == 'step' else _NUMBER})")
        before = ""
    pattern = ".*?".join(parts)
    if not {*names} - {"step"} or not _finds(pattern, sample):
        return None
    return pattern, names


def _label(before: str) -> tuple[str, str]:
    """Return the words before a value, and the expression for them as they stand there."""
    match = re.search(r"([A-Za-z][\w /-]*?)?(\s*[:=]*\s*[\[(]?\s*)$", before[-60:])
    if not match or not match[1]:
        return "", ""
    words = match[1].split()[-3:]
    text = r"\s+".join(map(re.escape, words))
    end = re.sub(r"\s+", " ", match[2])
    return "_".join(words), text + re.escape(end).replace(r"\ ", r"\s+")


def _group(label: str, value: ast.expr) -> str:
    """Return the name of a value in a printed line, "" if it is neither a step nor a metric."""
    plain = re.sub(r"\W+", "_", label.lower()).strip("_")
    written = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
    last = plain.rpartition("_")[2]
    if last in STEPS or plain in STEPS or (not plain and written.lower() in STEPS):
        return "step"
    for name in (plain, written.lower()):
        if name.isidentifier() and (_LOSS.search(name) or _QUALITY.search(name)):
            return name
    return ""


def _finds(pattern: str, sample: str) -> bool:
    """Whether a pattern finds all its values in a line as it is printed."""
    try:
        match = compiled(pattern).search(sample)
    except BadInput:
        return False
    return match is not None and None not in match.groupdict().values()
