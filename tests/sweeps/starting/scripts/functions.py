"""Training functions, as people write them. They are read, never run."""

import torch

WIDTH = 64
raise RuntimeError("this file is read, not run")


def build(cfg, depth):
    return torch.nn.Linear(cfg["hidden"], depth), torch.nn.Dropout(cfg.get("dropout", 0.1))


def train(config, report, *, batch_size=32, width=WIDTH, nesterov=False, betas=(0.9, 0.95), activation="relu"):
    build(config, 3)
    torch.optim.AdamW([], lr=config.lr, weight_decay=getattr(config, "weight_decay", 1e-4), betas=betas)
    for step in range(config.steps):
        report(step, train_loss=1.0, val_loss=2.0, score=0.5)


def odd(config, report, needed, epochs=30, schedule=True):
    dict(**config)
    report(1, points=3.0)


async def awaited(config, report):
    pass


def bare(lr=0.1):
    pass


class Net:
    def __init__(self, hidden=WIDTH, dropout=0.1):
        self.hidden = hidden
