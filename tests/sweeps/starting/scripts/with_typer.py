"""A script with typer. It prints what arrived, as its last line."""

import json
from typing import Annotated

import typer


def main(
    lr: Annotated[float, typer.Option(help="Peak rate.")] = 0.1,
    batch_size: int = 32,
    bias: bool = True,
    nesterov: bool = False,
    dropout: Annotated[float, typer.Option(help="How many units are left out, in a sentence that is long.")] = 0.1,
    epochs: int = 5,
    seed: int = 0,
):
    """Train."""
    arrived = {"lr": lr, "batch_size": batch_size, "bias": bias, "nesterov": nesterov, "dropout": dropout}
    print(json.dumps({"arrived": arrived | {"epochs": epochs, "seed": seed}}))


if __name__ == "__main__":
    typer.run(main)
