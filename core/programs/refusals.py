"""Messages on why torch cannot run a task in many lanes."""

from espalier.core.errors import briefly

_REASONS = {
    "called random operation": "it draws random numbers, as dropout does",
    ".item()": "it looks at a number in a tensor: .item(), or control flow on data",
    "in-place operation": "it changes a tensor in place that is neither parameter nor buffer",
    "inplace arithmetic": "it changes a tensor in place that all lanes share",
    "dynamic shape": "the sizes of its tensors depend on the data",
    "data pointer": "it hands a tensor to another library, as numpy",
    "Sparse": "it has sparse tensors",
    "Batching rule not implemented": "torch cannot batch one of its operations",
}


def reason_of(error: Exception) -> str:
    """Return why vmap refuses: torch's own message addresses the caller of vmap.

    >>> reason_of(RuntimeError("vmap: It looks like you're calling .item() on a Tensor."))
    'it looks at a number in a tensor: .item(), or control flow on data'
    """
    known = next((words for fragment, words in _REASONS.items() if fragment in str(error)), None)
    return known or briefly(error).replace("vmap: ", "").partition(" Please")[0]
