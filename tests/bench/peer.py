"""The other side: plain Ray Tune with OptunaSearch, one trial per process, as their documentation advises.

Actors are reused, data is loaded once in each process, every process has one thread, two trials run at a time on
two cores. The loop is a plain PyTorch loop: torch.optim.SGD with MultiStepLR, minibatches in the same order, ten
validations.

With --asha trials are stopped by Ray Tune's ASHAScheduler at its defaults, by their validations. With --mlflow
each trial is a run in MLflow on sqlite, by Ray's own MLflowLoggerCallback.

usage: python -m tests.bench.peer CONFIGURATIONS.json STEPS [--asha] [--mlflow]  (prints one JSON document)
"""

import json
import math
import os
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.update({"OMP_NUM_THREADS": "1", "RAY_AIR_NEW_OUTPUT": "0", "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0"})
VALIDATIONS = 10


@lru_cache(maxsize=1)
def task_and_data() -> tuple[Any, Any]:
    """Load the data once in each process."""
    import torch

    from espalier.core.tasks.names import Names

    torch.set_num_threads(1)
    task = Names()
    return task, task.data()


def train(config: dict[str, float]) -> None:
    """Train one configuration and report ten validations."""
    import torch
    from ray import tune

    task, data = task_and_data()
    steps, seed = int(config["steps"]), 0
    torch.manual_seed(seed)
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=10 ** config["lr_exponent"])
    milestone = -(-int(config["decay_point"] * steps * 1_000_000) // 1_000_000)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [milestone], gamma=0.1)
    examples, valid = len(data.train[0]), data.valid
    order = task.order(seed, examples, 32)
    for step in range(steps):
        index = order(step, step + 1)[0]
        loss = task.loss(model, (data.train[0][index], data.train[1][index]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % (steps // VALIDATIONS) == 0:
            with torch.no_grad():
                size = task.evaluation_batch_size
                parts = [tuple(t[a : a + size] for t in valid) for a in range(0, len(valid[0]), size)]
                total = sum(task.loss(model, part).item() * len(part[0]) for part in parts)
            tune.report({"valid_loss": total / len(valid[0])})


def main(configurations: list[dict[str, float]], steps: int, asha: bool, store: str | None) -> dict[str, Any]:
    """Run the configurations through OptunaSearch and return each one's last loss, with the wall time.

    store: address of the MLflow store to record in.
    """
    import logging

    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    root = str(Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = root
    begin, began = time.monotonic(), time.time()
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    space = {"lr_exponent": tune.uniform(-2.5, 0.5), "decay_point": tune.uniform(0.4, 0.9)}
    aim = {"metric": "valid_loss", "mode": "min"}
    search = OptunaSearch(space, points_to_evaluate=configurations, seed=0, **aim)
    scheduler = tune.schedulers.ASHAScheduler(max_t=VALIDATIONS, **aim) if asha else None
    tuner = tune.Tuner(
        tune.with_parameters(_with_steps, steps=steps),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=scheduler,
            num_samples=len(configurations),
            max_concurrent_trials=2,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            verbose=0, callbacks=[MLflowLoggerCallback(store, experiment_name="names")] if store else None
        ),
    )
    results = tuner.fit()
    losses = {
        json.dumps([r.config["lr_exponent"], r.config["decay_point"]]): r.metrics["valid_loss"]
        for r in results
        if r.metrics
    }
    tables = [r.metrics_dataframe for r in results if r.metrics_dataframe is not None]
    reports = [(v, at) for table in tables for v, at in zip(table["valid_loss"], table["timestamp"], strict=True)]
    best, at = min((v, at) for v, at in reports if math.isfinite(v))
    seconds = time.monotonic() - begin
    return {"seconds": seconds, "trials": len(losses), "losses": losses, "best": best, "best_s": at - began}


def _with_steps(config: dict[str, float], steps: int) -> None:
    train({**config, "steps": steps})


if __name__ == "__main__":
    from tests.bench.peer import main  # by its own name, so that workers can import what they are sent

    wanted = json.loads(Path(sys.argv[1]).read_text())
    with tempfile.TemporaryDirectory() as folder:
        place = f"sqlite:///{folder}/mlflow.db" if "--mlflow" in sys.argv[3:] else None
        print(json.dumps(main(wanted, int(sys.argv[2]), "--asha" in sys.argv[3:], place)))
