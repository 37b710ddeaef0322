import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main(config):
    accelerator = Accelerator(cpu=True)
    x = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), 16, shuffle=True)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), config["lr"])
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    step = 0
    while step < config["steps"]:
        for batch, target in loader:
            loss = nn.functional.mse_loss(model(batch), target)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step == config["steps"]:
                break
    accelerator.print(loss.item())


if __name__ == "__main__":
    main({"lr": 1e-2, "steps": 60})
