"""A script with click. It prints what arrived, as its last line."""

import json

import click


@click.command()
@click.option("--lr", default=0.1, show_default=True, help="Peak rate.")
@click.option("-b", "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Examples a step.")
@click.option("--opt", type=click.Choice(["sgd", "adam"]), default="sgd", show_default=True, help="The optimizer.")
@click.option("--bias/--no-bias", default=True, show_default=True, help="Of all layers.")
@click.option("--nesterov", is_flag=True, help="Look ahead.")
@click.option("--betas", nargs=2, type=float, default=(0.9, 0.95), show_default=True, help="Of Adam.")
@click.option("--out", type=click.Path(), default="out", show_default=True, help="Where everything is written.")
@click.option("--steps", default=50, show_default=True, help="How long it trains.")
@click.option("--seed", default=0, show_default=True, help="Of everything.")
def main(**options):
    """Train."""
    for step in range(0, options["steps"], 10):
        print(json.dumps({"step": step, "valid_accuracy": 0.5, "train_loss": 1.0}))
    print(json.dumps({"arrived": options}))


if __name__ == "__main__":
    main()
