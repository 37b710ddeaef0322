import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from espalier.accelerate import SweepTrial


def main(config, report):
    accelerator = Accelerator(cpu=True)
    trial = SweepTrial(accelerator, report)
    x = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), 16, shuffle=True)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), config["lr"])
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    trial.load()
    step = trial.start
    while step < config["steps"]:
        for batch, target in loader:
            loss = nn.functional.mse_loss(model(batch), target)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if trial.due(step):
                trial.report(step, valid_loss=loss.item())
            if step == config["steps"]:
                break
