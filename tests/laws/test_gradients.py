"""Law 7: the gradient of a lane is the gradient of its own mean loss."""

import pytest
import torch

from espalier.core.optimizers import SGD
from espalier.core.programs import PROGRAMS
from espalier.core.rows import seeded
from tests.laws.cases import Engine, every_task, stacked

pytestmark = pytest.mark.each_value


@every_task
@pytest.mark.parametrize("lanes", (1, 2, 3, 7))
def test_the_gradient_of_a_lane_is_the_gradient_of_its_own_mean_loss(
    engine: Engine, task_name: str, lanes: int
) -> None:
    task, data = engine.tasks[task_name], engine.data[task_name].to("cpu", torch.float64)
    for name in ("vmap",) if lanes > 1 else ("vmap", "plain"):
        program = PROGRAMS[name](task, SGD(), torch.float64)
        rows, batch = stacked(program, data, range(lanes))
        losses_N, gradients, _ = program.gradients(rows, batch)
        for lane in range(lanes):
            with seeded(lane):
                model = task.model().to(torch.float64)
            loss = task.loss(model, tuple(tensor[lane] for tensor in batch))
            named = dict(model.named_parameters())
            expected = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
            assert losses_N[lane].item() == pytest.approx(loss.item(), rel=1e-12)
            assert list(gradients) == list(expected)
            largest = max(float(gradient.abs().max()) for gradient in expected.values())
            for key, gradient in expected.items():
                torch.testing.assert_close(gradients[key][lane], gradient, rtol=1e-9, atol=1e-12 * largest)


@every_task
def test_a_step_of_a_lane_does_not_shrink_when_lanes_are_added(engine: Engine, task_name: str) -> None:
    """No 1/K anywhere, no joint clipping: the lane beside 8 others moves exactly as the lane beside none."""
    program = PROGRAMS["vmap"](engine.tasks[task_name], SGD())
    rows, batch = stacked(program, engine.data[task_name], range(9))
    rows |= {name: tensor * 100 for name, tensor in rows.items() if name.startswith("theta.")}
    _, many, _ = program.gradients(rows, batch)
    for lane in range(9):
        pair = torch.tensor([lane, lane])
        two = tuple(tensor[pair] for tensor in batch)
        _, alone, _ = program.gradients({name: tensor[pair] for name, tensor in rows.items()}, two)
        assert all(torch.equal(alone[name][0], many[name][lane]) for name in many)
