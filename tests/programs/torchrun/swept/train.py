"""torchrun --nproc-per-node 2 train.py --lr 0.1 --shard"""

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from espalier import report

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--momentum", type=float, default=0.0)
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--shard", action="store_true")
args = parser.parse_args()

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(args.seed)
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)

x = torch.randn(240, 6, generator=torch.Generator().manual_seed(0))
y = x.prod(1, keepdim=True).tanh()
data = TensorDataset(x[:200], y[:200])
sampler = DistributedSampler(data, world, rank, seed=args.seed)
loader = DataLoader(data, 10, sampler=sampler)

model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
if args.shard:
    fully_shard(model, mesh=dist.init_device_mesh("cpu", (world,)))
else:
    model = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), args.lr, args.momentum)
step = 0
if report.resume:
    model_state, optimizer_state, step = torch.load(report.resume / "last.pt")
    set_state_dict(model, optimizer, model_state_dict=model_state, optim_state_dict=optimizer_state, options=WHOLE)

while step < args.steps:
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
            model_state, optimizer_state = get_state_dict(model, optimizer, options=WHOLE)
            if rank == 0:
                torch.save((model_state, optimizer_state, step), report.checkpoint / "last.pt")
            report(step, valid_loss=valid_loss)
        if step == args.steps:
            break

dist.destroy_process_group()
