import os

import torch
from data import ImageFolder, RandomCropAndFlip
from torch import nn
from torch.utils.data import DataLoader


def evaluate(model, loader):
    model.eval()
    with torch.no_grad():
        scores = [(model(x), y) for x, y in loader]
    model.train()
    return nn.functional.cross_entropy(torch.cat([s for s, _ in scores]), torch.cat([y for _, y in scores])).item()


def main(config):
    root = os.environ.get("IMAGES", "images")
    augment = RandomCropAndFlip(config["padding"])
    train = DataLoader(ImageFolder(f"{root}/train", augment), 8, shuffle=True, num_workers=2, persistent_workers=True)
    valid = DataLoader(ImageFolder(f"{root}/valid"), 16, num_workers=1)
    model = nn.Sequential(
        nn.Conv2d(3, config["width"], 3, 2), nn.BatchNorm2d(config["width"]), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)
    )
    model(torch.zeros(2, 3, 12, 12))
    optimizer = torch.optim.SGD(model.parameters(), config["lr"], config["momentum"])
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, config["steps"] // 2)
    step = 0
    while step < config["steps"]:
        for x, y in train:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            if step == config["steps"]:
                break
        print(step, loss.item(), evaluate(model, valid))


if __name__ == "__main__":
    main({"lr": 1e-2, "momentum": 0.9, "width": 8, "padding": 1, "steps": 60, "seed": 0})
