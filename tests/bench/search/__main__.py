"""Measure searches on one table, and print one JSON document.

usage: python -m tests.bench.search TABLE.npz [--repetitions N] [--workers 1,2,8] [--most BUDGET] [--method NAME ...]
"""

import argparse
import json
import warnings

from tests.bench.search.measuring import measure_all
from tests.bench.search.methods import METHODS, chosen
from tests.bench.search.table import Table


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table")
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--workers", default="1,2,8", help="how many work at once: 1,2,8")
    parser.add_argument("--most", type=float, default=32, help="the largest budget")
    parser.add_argument("--method", action="append", default=[], help=f"{', '.join(METHODS)}; or file.py:name")
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")  # Optuna's, of what is experimental
    workers = [int(count) for count in wanted.workers.split(",")]
    methods = chosen(wanted.method)
    print(json.dumps(measure_all(methods, Table.read(wanted.table), workers, wanted.repetitions, wanted.most)))


if __name__ == "__main__":
    main()
