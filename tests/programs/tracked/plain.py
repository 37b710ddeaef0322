import argparse

import mlflow
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--steps", type=int, default=60)
args = parser.parse_args()

torch.manual_seed(0)
x = torch.linspace(-3, 3, 256)[:, None]
model = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
with mlflow.start_run(run_name="mine"):
    mlflow.log_params(vars(args))
    for step in range(1, args.steps + 1):
        loss = torch.nn.functional.mse_loss(model(x), x.sin())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            mlflow.log_metrics({"train_loss": loss.item(), "valid_loss": loss.item() + 1}, step=step)
