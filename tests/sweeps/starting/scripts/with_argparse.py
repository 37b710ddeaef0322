"""A script with argparse that shows its defaults. It prints what arrived, as its last line."""

import argparse
import json


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("data", nargs="?", default="data", help="the folder of the data")
    parser.add_argument("--lr", type=float, default=3e-4, help="peak rate, which is not [default: 7]")
    parser.add_argument("-b", "--batch-size", type=int, default=64, metavar="N", help="examples (per step)")
    parser.add_argument("--betas", type=float, nargs=2, default=(0.9, 0.999), help="of Adam")
    parser.add_argument("--opt", choices=["sgd", "adam"], default="sgd", help="which optimizer")
    parser.add_argument("--nesterov", action="store_true", help="look ahead")
    parser.add_argument("--bias", action=argparse.BooleanOptionalAction, default=True, help="of all layers")
    parser.add_argument("--schedule", choices=["cosine", "poly"], default="poly", help="a name that a sweep has too")
    parser.add_argument("--weight_decay", type=float, default=0.0, help="towards 0")
    parser.add_argument("--out-dir", default="out", help="where everything is written, in a path that is long")
    parser.add_argument("--num-workers", type=int, default=2, help="of the loader")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where it trains")
    parser.add_argument("--log-every", type=int, default=10, help="steps")
    parser.add_argument("--epochs", type=int, default=12, help="how long it trains")
    parser.add_argument("--seed", type=int, default=1337, help="of everything")
    args = parser.parse_args()
    for epoch in range(args.epochs):
        train_loss, val_loss = 2.0 / (epoch + 1), 3.0 / (epoch + 1)
        print(f"epoch {epoch}: train loss {train_loss:.4f}, val loss {val_loss:.4f}")
    print(json.dumps({"arrived": vars(args)}))


if __name__ == "__main__":
    main()
