"""Sweeps by the tools of the Model Context Protocol, through the client of its own package."""

import asyncio
import json
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

pytest.importorskip("mcp", reason="the package mcp is not installed")
from mcp import Client, StdioServerParameters

from espalier.sweeps.agents.commands import Commands
from espalier.sweeps.agents.server import server_of
from espalier.sweeps.agents.tools import Tools
from tests.sweeps.agents.ten_tasks import SOURCE, Agent, ten_tasks

T = TypeVar("T")
TOOLS = [tool.__name__ for tool in Tools(Commands(Path(), "", Path())).all()]


def inside(home: Path, does: Callable[[Agent], Awaitable[T]], folder: Path | None = None) -> T:
    """Have an agent do something with the tools of a home, in this process."""

    async def run() -> T:
        async with Client(server_of(Commands(home, "", folder or home))) as client:
            return await does(Agent(client))

    return asyncio.run(run())


def test_every_tool_says_what_it_does_and_describes_its_arguments(tmp_path: Path) -> None:
    async def look(agent: Agent) -> Any:
        return (await agent.client.list_tools()).tools

    tools = inside(tmp_path, look)
    assert [tool.name for tool in tools] == TOOLS
    for tool in tools:
        assert tool.description and tool.description.endswith(".") and "  " not in tool.description
        for name, argument in tool.input_schema.get("properties", {}).items():
            assert argument.get("description"), f"{tool.name}: {name}"


def test_an_agent_looks_at_a_sweep_as_a_person_does(small_sweep: Any, tmp_path: Path) -> None:
    folder = tmp_path.resolve()

    async def look(agent: Agent) -> None:
        (listed,) = (await agent.ask("list_sweeps"))["sweeps"]
        assert listed["sweep"] == small_sweep.id
        shown = await agent.ask("show", sweep="small", top=2)
        assert len(shown["trials"]) == 2 < shown["trials_in_all"]
        assert shown["trials"][0]["number"] == shown["best"]["trial"]
        seen = await agent.ask("watch", sweep=small_sweep.id, seconds=30)
        assert seen["state"] == "finished" and seen["best"] == shown["best"]
        told = await agent.ask("explain", sweep=small_sweep.id)
        assert f"trial {shown['best']['trial']}" in json.dumps(told)
        assert "task:" in (await agent.ask("best", sweep=small_sweep.id))["best_file"]
        assert "stop" in await agent.refused("stop", sweep=small_sweep.id)
        page = await agent.ask("report", sweep=small_sweep.id, file="page.html")
        assert page == {"file": str(folder / "page.html"), "sentences": told["answer"]["sentences"]}
        assert (folder / "page.html").read_text().startswith("<!doctype html>")

    inside(small_sweep.home, look, folder)


def test_what_is_wrong_is_told_in_the_words_of_the_command(tmp_path: Path) -> None:
    async def look(agent: Agent) -> None:
        assert await agent.ask("list_sweeps") == {"sweeps": [], "sweeps_in_all": 0}
        assert "unknown sweep 'names'" in await agent.refused("show", sweep="names")
        assert "trails" in await agent.refused("submit", spec="name: x\ntask: names\ntrails: 3\n")
        assert "cannot be read" in await agent.refused("submit", spec="nmes")
        assert "hours" in await agent.refused("submit", spec="names", hours=1.0)
        assert "seconds" in await agent.refused("watch", sweep="names", seconds=-1)
        assert "properties" in await agent.ask("spec_fields")
        for tool in ("show", "best", "explain", "stop"):  # no argument becomes an option, as of another home
            assert "unknown sweep '--home=elsewhere'" in await agent.refused(tool, sweep="--home=elsewhere")
        assert "--help: cannot be read" in await agent.refused("submit", spec="--help")

    inside(tmp_path, look)


@pytest.mark.parametrize("server", ["", "http://127.0.0.1:9"])
def test_a_list_is_bounded_and_has_the_newest_first(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"sweep": f"s-{number}"} for number in range(208)]  # of a home the oldest first, of a service the newest
    newest = rows if server else rows[::-1]
    monkeypatch.setattr(Commands, "document", lambda *_, **__: rows)
    tools = Tools(Commands(Path(), server, Path()))
    assert tools.list_sweeps() == {"sweeps": newest[:20], "sweeps_in_all": 208}
    assert tools.list_sweeps(limit=2)["sweeps"] == newest[:2]


def test_an_explanation_has_the_last_choices_of_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [{"order": number} for number in range(3000)]
    tools = Tools(Commands(Path(), "", Path()))
    monkeypatch.setattr(Commands, "document", lambda *_, **__: {"answer": {}, "chosen": chosen})
    assert tools.explain("a") == {"answer": {}, "chosen": chosen[-20:], "chosen_in_all": 3000}
    assert (tools.explain("a", 0)["chosen"], tools.explain("a", 2)["chosen"]) == ([], chosen[-2:])
    monkeypatch.setattr(Commands, "document", lambda *_, **__: {"chosen": None})
    assert tools.explain("a") == {"chosen": [], "chosen_in_all": 0}


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "too small": (
        "watch",
        {"sweep": "a", "seconds": -1},
        "seconds: input should be greater than or equal to 0; -1 arr",
    ),
    "too many": ("list_sweeps", {"limit": 201}, "limit: input should be less than or equal to 200; 201 arrived"),
    "no number": ("show", {"sweep": "a", "top": "many"}, "top: input should be a valid integer"),
    "two at once": ("watch", {"seconds": "x"}, "sweep: missing; it is required; seconds: input should be a valid num"),
    "a list of texts": ("enqueue", {"sweep": "a", "points": ["x", "y"]}, "points.0: input should be a valid dict"),
    "unknown": ("list_sweeps", {"stat": "running"}, "stat: unknown argument; did you mean 'state'?"),
    "none is taken": ("spec_fields", {"x": 1}, "x: unknown argument; it takes none"),
    "no such tool": ("lst", {}, "Unknown tool: lst"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    tool, arguments, words = WRONG[case]
    refusal = inside(tmp_path, lambda agent: agent.refused(tool, **arguments))
    assert words in refusal and refusal.isprintable() and "http" not in refusal, refusal


@pytest.mark.slow
def test_an_agent_that_knows_the_tools_alone_solves_ten_tasks(tmp_path: Path) -> None:
    """By standard input and output, as agents start it."""
    (tmp_path / "train.py").write_text(textwrap.dedent(SOURCE))

    async def solve() -> None:
        command = [sys.executable, "-m", "espalier.sweeps.cli", "mcp", "--home", str(tmp_path / "home")]
        server = StdioServerParameters(command=command[0], args=command[1:], cwd=tmp_path)
        async with Client(server) as client:
            await ten_tasks(Agent(client), tmp_path, "interrupted")

    asyncio.run(solve())
