"""What a trained model takes and returns, as MLflow is to know it: tensors, by position and by name."""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class NotLoadable(Exception):
    """Why MLflow cannot load a model."""


def positional(model: "Module", arguments: Sequence[object], named: Mapping[str, object]) -> "list[Tensor]":
    """Return what a model was called with as tensors by position. Raises NotLoadable for anything else.

    MLflow's format of a graph takes tensors, and each by its position.
    """
    from torch import Tensor

    bound = inspect.signature(model.forward).bind(*arguments, **named)
    if bound.kwargs:
        raise NotLoadable(f"the model takes {', '.join(bound.kwargs)} by name, and MLflow gives all by position")
    tensors = [each.detach() for each in bound.args if isinstance(each, Tensor)]
    if not tensors or len(tensors) < len(bound.args):
        others = {type(each).__name__: None for each in bound.args if not isinstance(each, Tensor)}
        raise NotLoadable(f"the model takes {', '.join(others) or 'nothing'}, and MLflow gives tensors alone")
    return tensors


def input_names(model: "Module", count: int) -> list[str]:
    """Return the names of a model's inputs, those of its parameters as far as it has one for each."""
    parameters = inspect.signature(model.forward).parameters.values()
    names = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return [*names[:count], *(f"input_{k}" for k in range(len(names), count))]


def named_outputs(outputs: object) -> "dict[str, Tensor]":
    """Return what a model returns by name; empty where it is more than tensors in a row or by name."""
    from torch import Tensor

    if isinstance(outputs, Tensor):
        outputs = (outputs,)
    if isinstance(outputs, tuple | list):
        outputs = {f"output_{k}": each for k, each in enumerate(outputs)}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if not isinstance(outputs, Mapping):
        return {}
    tensors = {str(n): each for n, each in outputs.items() if isinstance(each, Tensor)}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return tensors if len(tensors) == len(outputs) else {}  # pyright: ignore[reportUnknownArgumentType]
