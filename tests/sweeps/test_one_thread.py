"""Numpy takes one thread for the small matrices of an answer, of a report, and of a search in the driver."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from espalier.sweeps.answer import answer as answers
from espalier.sweeps.report import document
from espalier.sweeps.report.document import Document
from tests.sweeps.report.made import material_of


def threads() -> set[int]:
    """Return how many threads numpy's libraries of linear algebra take now."""
    np.ones((2, 2)) @ np.ones((2, 2))
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_answers_and_figures_are_computed_by_one_thread_and_others_get_theirs_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[set[int]] = []

    def noting(function: Any) -> Any:
        def noted(*arguments: Any, **more: Any) -> Any:
            seen.append(threads())
            return function(*arguments, **more)

        return noted

    monkeypatch.setattr(answers, "valley_of", noting(answers.valley_of))
    monkeypatch.setattr(document, "FIGURES", {name: noting(draw) for name, draw in document.FIGURES.items()})
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        made = Document.of(material_of(30))
        figures = made.figures, made.figure("valley")
        assert threads() == before
    assert len(figures[0]) + 2 <= len(seen) and all(each == {1} for each in seen)


def test_a_driver_searches_by_one_thread() -> None:
    """In a process of its own, where nothing has set how many."""
    code = (
        "import numpy\n"
        "from threadpoolctl import threadpool_info\n"
        "from espalier.sweeps.running import here\n"
        "counts = lambda: {each['num_threads'] for each in threadpool_info() if each['user_api'] == 'blas'}\n"
        "before = counts()\n"
        "with here._ray(None):\n"
        "    assert counts() == {1}, counts()\n"
        "assert counts() == before\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, timeout=120)
