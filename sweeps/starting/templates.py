"""Small trainings that run at once, one for each way in, and their specs. They are for editing."""

from espalier.sweeps.starting.draft import value_text
from espalier.sweeps.starting.words import this_python

FUNCTION = '''"""A training function: it trains one trial. `sweep run` calls it in a process of its own for each."""

import torch

X = torch.linspace(-3, 3, 512)[:, None]
TRAIN, VALID = (X[::2], X[::2].sin()), (X[1::2], X[1::2].sin())


def train(config, report, hidden=16):
    """config: the hyperparameters, as config.lr or config["lr"]. report: tells the sweep how it goes.

    Own arguments with a default, as hidden, are hyperparameters too. Random generators are seeded by config.seed.
    """
    model = torch.nn.Sequential(torch.nn.Linear(1, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr, momentum=config.momentum)
    scheduler = config.torch_scheduler(optimizer)  # the schedule of the spec; without it the rate is constant
    if report.resume:  # a trial that goes on after a crash
        state = torch.load(report.resume / "state.pt")
        for part, name in ((model, "model"), (optimizer, "optimizer"), (scheduler, "scheduler")):
            part.load_state_dict(state[name])
    for step in range(report.start, config.steps):
        rows = torch.randint(0, len(TRAIN[0]), (32,))
        loss = torch.nn.functional.mse_loss(model(TRAIN[0][rows]), TRAIN[1][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if report.due(step + 1):  # the sweep wants to know after so many steps
            parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
            torch.save({name: part.state_dict() for name, part in parts.items()}, report.checkpoint / "state.pt")
            with torch.no_grad():
                valid_loss = torch.nn.functional.mse_loss(model(VALID[0]), VALID[1])
            report(step + 1, valid_loss=valid_loss, train_loss=loss.detach())  # ends the trial if it falls behind
'''

COMMAND = '''"""A training script: `sweep run` starts it for each trial, with its hyperparameters as arguments."""

import argparse
import json

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--momentum", type=float, default=0.0)
parser.add_argument("--hidden", type=int, default=16)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

torch.manual_seed(args.seed)
x = torch.linspace(-3, 3, 512)[:, None]
train, valid = (x[::2], x[::2].sin()), (x[1::2], x[1::2].sin())
model = torch.nn.Sequential(torch.nn.Linear(1, args.hidden), torch.nn.Tanh(), torch.nn.Linear(args.hidden, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)
for step in range(1, args.steps + 1):
    rows = torch.randint(0, len(train[0]), (32,))
    loss = torch.nn.functional.mse_loss(model(train[0][rows]), train[1][rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:  # a line of JSON is a report; of other lines results.pattern in the spec says what they hold
        valid_loss = torch.nn.functional.mse_loss(model(valid[0]), valid[1]).item()
        print(json.dumps({"step": step, "valid_loss": valid_loss, "train_loss": loss.item()}), flush=True)
'''

TASK = '''"""A task: a model, a loss and data. Many trials train side by side as lanes of one program."""

import espalier as es
import torch


class Line(es.Task):
    """Arguments with a default are hyperparameters. The optimizer and its rate stand in the spec."""

    def __init__(self, hidden: int = 16):
        self.hidden = hidden

    def model(self):
        return torch.nn.Sequential(torch.nn.Linear(1, self.hidden), torch.nn.Tanh(), torch.nn.Linear(self.hidden, 1))

    def loss(self, model, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(model(x), y)

    def data(self):
        x = torch.linspace(-3, 3, 512)[:, None]
        return es.Data(train=(x[::2], x[::2].sin()), valid=(x[1::2], x[1::2].sin()))
'''

SPECS = {
    "function": """\
# What a sweep tries, and for how long. All fields: sweep schema
name: {name}
function: {code}:train
budget: {{steps: 300}}           # of a trial: config.steps
space:
  lr: {{low: 0.005, high: 0.5, log: true}}
  momentum: [0.0, 0.9]
  # hidden: [8, 16, 32]        # any name: config.hidden, or an argument of train()
schedule: cosine               # of the rate: config.torch_scheduler follows it
objective: {{metric: valid_loss, mode: min}}
trials: 8
# stopping: {{}}                 # ends early what falls behind
# share: checkpoints           # trials that begin alike train that part once; train() must save and resume, as here
""",
    "command": """\
# What a sweep tries, and for how long. All fields: sweep schema
name: {name}
# ${{args}} becomes --lr 0.1 --momentum 0.9
command: [{python}, {code}, --steps, "${{steps}}", --seed, "${{seed}}", "${{args}}"]
# results: {{pattern: 'step (?P<step>\\d+): val loss (?P<valid_loss>\\S+)'}}   # of a script that prints no JSON
budget: {{steps: 300}}           # of a trial: ${{steps}}
space:
  lr: {{low: 0.005, high: 0.5, log: true}}
  momentum: [0.0, 0.9]
  # hidden: [8, 16, 32]        # any option of the script, by its name
objective: {{metric: valid_loss, mode: min}}
trials: 6
# stopping: {{}}                 # ends early what falls behind
""",
    "task": """\
# What a sweep tries, and for how long. All fields: sweep schema
name: {name}
task: {code}:Line
optimizer: sgd                 # or adam, adamw; numbers of it may stand in the space, as momentum
schedule: step
budget: {{steps: 300, batch_size: 32}}
space:
  lr: {{low: 0.005, high: 0.5, log: true}}
  decay_points: {{low: 0.4, high: 0.9}}   # shares of the budget at which the rate falls to a tenth
  # hidden: [8, 16, 32]        # an argument of the class
objective: {{metric: valid_loss, mode: min}}
trials: 16
""",
}
CODES = {"function": FUNCTION, "command": COMMAND, "task": TASK}


def texts(way: str, name: str, code: str) -> tuple[str, str]:
    """Return the text of a spec and that of its training file. code: the path of the file, from the spec's folder."""
    values = {"name": name, "code": code, "python": this_python()}
    return SPECS[way].format(**{key: value_text(value) for key, value in values.items()}), CODES[way]
