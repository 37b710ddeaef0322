"""The list of operations against the function itself, and what is refused."""

import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from espalier.core.native.tape import traced

HELD = torch.arange(24.0).reshape(4, 6)


def in_place(x: Tensor, y: Tensor) -> Sequence[Tensor]:
    x += y[:, 1:].sin()
    x[1:, 2] = 0.5
    return [x * 2, x.t()]


def views(x: Tensor, y: Tensor) -> Sequence[Tensor]:
    first, second = x.split([1, 2])
    first.mul_(3)
    turned = y.transpose(0, 1)[1:].unsqueeze(0)
    return [first, second.exp(), turned.squeeze(0) + 1, y.as_strided((2, 2), (1, 2), 1) * 2]


def shape_in_place(x: Tensor, y: Tensor) -> Sequence[Tensor]:
    z = x.clone()
    z.unsqueeze_(0).transpose_(1, 2)
    return [z, z * 2, y.new_zeros(2, 2)]


def held(x: Tensor, y: Tensor) -> Sequence[Tensor]:
    return [x @ HELD[:, 1:4].T, HELD[2:4, 3], torch.tensor([1.0, 2.0]) + y[:1, :2]]


def made(x: Tensor, y: Tensor) -> Sequence[Tensor]:
    mask = torch.arange(4, device=x.device) < 2
    return [torch.where(mask, y, torch.zeros(4, device=y.device)), torch.ones(2), x.to(y.device).double()]


def gradient(x: Tensor, y: Tensor) -> Sequence[Tensor]:
    leaf = x.detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(leaf @ y, torch.tensor([0, 1, 3])[: len(x)])
    (grad,) = torch.autograd.grad(loss, [leaf])
    x -= 0.1 * grad
    return [loss.detach(), grad]


def several(x: Tensor, y: Tensor) -> Sequence[Tensor]:
    values, places = x.max(1)
    return [values, places, *torch.var_mean(y, dim=0)]


def arguments() -> list[Tensor]:
    torch.manual_seed(5)
    whole = torch.randn(5, 4)
    return [torch.randn(3, 3), whole[1:4]]  # the second begins inside its storage


@pytest.mark.parametrize("function", [in_place, views, shape_in_place, held, made, gradient, several])
def test_the_list_does_what_the_function_does(function: Callable[..., Sequence[Tensor]]) -> None:
    mine, theirs = arguments(), arguments()
    graph = traced(function, arguments())
    found, expected = graph(*mine), function(*theirs)
    for a, b in zip([*found, *mine], [*expected, *theirs], strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)
    end = next(node for node in graph.graph.nodes if node.op == "output")
    for node, b in zip(end.args[0], expected, strict=True):
        shape = node.meta["val"]
        assert (shape.shape, shape.stride(), shape.dtype) == (b.shape, b.stride(), b.dtype)


def test_operations_become_simpler_ones_where_that_is_wished() -> None:
    simpler = torch._decomp.get_decompositions([torch.ops.aten.silu])
    names = {str(n.target) for n in traced(lambda x: [torch.nn.functional.silu(x)], [torch.ones(3)]).graph.nodes}
    found = {
        str(n.target) for n in traced(lambda x: [torch.nn.functional.silu(x)], [torch.ones(3)], simpler).graph.nodes
    }
    assert "aten.silu.default" in names and "aten.silu.default" not in found and "aten.sigmoid.default" in found


def write_to_held(x: Tensor) -> Sequence[Tensor]:
    HELD.add_(x.sum())
    return [x]


KEPT: list[Tensor] = []


def use_kept(x: Tensor) -> Sequence[Tensor]:
    KEPT.append(x)
    return [x + KEPT[0]]


@pytest.mark.parametrize(
    "function, why",
    [
        (lambda x: [x * x.sum().item()], "looks at a number"),
        (lambda x: [x if x.sum() > 0 else -x], "looks at a number"),
        (lambda x: [torch.tensor(float(x[0]))], "looks at a number"),
        (lambda x: [torch.from_numpy(x.numpy()) * 2], "meta"),
        (lambda x: [torch.tensor(x.tolist())], "unallocated storage"),
        (lambda x: [torch.add(x, 1, out=torch.empty(3))], "writes to `out`"),
        (write_to_held, "no argument"),
        (use_kept, "unknown origin"),
    ],
)
def test_what_looks_at_numbers_or_uses_what_is_not_its_own_is_refused(
    function: Callable[..., Sequence[Tensor]], why: str
) -> None:
    before = HELD.clone()
    if function is use_kept:
        traced(function, [torch.ones(3)])  # from which it keeps a tensor without numbers
    with pytest.raises(Exception, match=why):
        traced(function, [torch.ones(3)])
    assert torch.equal(HELD, before)


def test_neither_looking_at_a_task_nor_machine_code_loads_a_compiler_of_torchs() -> None:
    """It would cost each sweep a second before its workers begin, and each worker another."""
    program = (
        "import sys; from espalier.core.checks.preflight import check; "
        "from espalier.core.tasks.digits import Digits; task = Digits(); check(task); "
        "print('torch._dynamo' in sys.modules, 'sympy' in sys.modules); "
        "from espalier.core.programs.machine_code import NativeProgram; "
        "from espalier.core.optimizers import SGD; data = task.data(); "
        "made = NativeProgram(task, SGD()); print(made.why_not(data.train, 8)); "
        "made.evaluate(made.fresh_row(0), data.valid); print('torch._dynamo' in sys.modules, 'sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "None", "False", "False"]
