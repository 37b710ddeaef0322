"""python train.py"""

import ray.train
import torch
import torch.distributed as dist
from ray.train.torch import TorchTrainer
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def train(config, report):
    rank, world = dist.get_rank(), dist.get_world_size()
    x = torch.randn(240, 6, generator=torch.Generator().manual_seed(0))
    y = x.prod(1, keepdim=True).tanh()
    data = TensorDataset(x[:200], y[:200])
    sampler = DistributedSampler(data, world, rank)
    loader = DataLoader(data, 10, sampler=sampler)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
    if config["shard"]:
        fully_shard(model, mesh=dist.init_device_mesh("cpu", (world,)))
    else:
        model = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), config["lr"], config["momentum"])
    step = report.start
    if report.resume:
        states = torch.load(report.resume / "last.pt")
        set_state_dict(model, optimizer, model_state_dict=states[0], optim_state_dict=states[1], options=WHOLE)

    while step < config["steps"]:
        sampler.set_epoch(step // len(loader))
        for inputs, targets in loader:
            loss = nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if report.due(step):
                with torch.no_grad():
                    valid_loss = nn.functional.mse_loss(model(x[200:]), y[200:])
                states = get_state_dict(model, optimizer, options=WHOLE)
                if rank == 0:
                    torch.save(states, report.checkpoint / "last.pt")
                report(step, valid_loss=valid_loss)
            if step == config["steps"]:
                break


if __name__ == "__main__":
    config = {"lr": 0.05, "momentum": 0.0, "steps": 60, "shard": False}
    TorchTrainer(train, train_loop_config=config, scaling_config=ray.train.ScalingConfig(num_workers=2)).fit()
