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

T = TypeVar("T")
TOOLS = [tool.__name__ for tool in Tools(Commands(Path(), "", Path())).all()]


class Agent:
    """What a scripted agent knows: the tools by their names, and what they answer."""

    def __init__(self, client: Client):
        self.client = client

    async def ask(self, tool: str, **arguments: Any) -> Any:
        """Return what a tool answers. Raises AssertionError with its words where it refuses."""
        answer = await self.client.call_tool(tool, arguments)
        text = " ".join(getattr(each, "text", "") for each in answer.content)
        assert not answer.is_error, text
        found = answer.structured_content
        assert found is not None, text
        return found["result"] if set(found) == {"result"} else found

    async def refused(self, tool: str, **arguments: Any) -> str:
        """Return with which words a tool refuses."""
        answer = await self.client.call_tool(tool, arguments)
        assert answer.is_error, answer.structured_content
        return " ".join(getattr(each, "text", "") for each in answer.content)


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


def test_an_agent_looks_at_a_sweep_as_a_person_does(small_sweep: Any) -> None:
    async def look(agent: Agent) -> None:
        (listed,) = await agent.ask("list_sweeps")
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

    inside(small_sweep.home, look)


def test_what_is_wrong_is_told_in_the_words_of_the_command(tmp_path: Path) -> None:
    async def look(agent: Agent) -> None:
        assert await agent.ask("list_sweeps") == []
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


# --- ten tasks -------------------------------------------------------------------------------------------------------

SOURCE = """
import math, time

def train(config, report):
    for step in range(1, config.steps + 1):
        time.sleep(config.get("pause", 0.0))
        if report.due(step):
            loss = 0.1 + (math.log10(config.lr) + 2) ** 2 + 0.5 / step
            report(step, valid_loss=loss if config.lr < 0.3 else float("nan"))
"""
SPEC = """
name: {name}
function: train.py:train
budget: {{steps: 40}}
space: {{lr: {{low: 1.0e-4, high: {high}, log: true}}, pause: {pause}}}
trials: {trials}
search: {{sampler: random, seed: {seed}}}
resources: {{gpus: 0, cohorts: 1}}
references: false
"""


def spec(name: str, high: float = 0.1, pause: float = 0.0, trials: int = 6, seed: int = 0) -> str:
    return SPEC.format(name=name, high=high, pause=pause, trials=trials, seed=seed)


@pytest.mark.slow
def test_an_agent_that_knows_the_tools_alone_solves_ten_tasks(tmp_path: Path) -> None:
    """By standard input and output, as agents start it."""
    (tmp_path / "train.py").write_text(textwrap.dedent(SOURCE))

    async def solve() -> None:
        command = [sys.executable, "-m", "espalier.sweeps.cli", "mcp", "--home", str(tmp_path / "home")]
        server = StdioServerParameters(command=command[0], args=command[1:], cwd=tmp_path)
        async with Client(server) as client:
            await ten_tasks(Agent(client), tmp_path)

    asyncio.run(solve())


async def ten_tasks(agent: Agent, folder: Path) -> None:
    # 1: is the code sound, before anything is spent?
    assert "valid_loss" in json.dumps(await agent.ask("check", spec=spec("first")))
    # 2: find the best rate within a budget
    first = (await agent.ask("submit", spec=spec("first")))["sweep"]
    seen = await agent.ask("watch", sweep=first, seconds=120)
    assert seen["state"] == "finished" and seen["trials"] == {"complete": 6}
    # 3: which rate is it, and how sure is that?
    told = await agent.ask("explain", sweep=first)
    best = min((await agent.ask("show", sweep=first, top=1000))["trials"], key=lambda trial: trial["value"])
    assert seen["best"]["trial"] == best["number"] and seen["best"]["valid_loss"] == best["value"]
    assert "noise" in json.dumps(told)
    # 4: extend it
    await agent.ask("extend", sweep=first, trials=4)
    seen = await agent.ask("watch", sweep=first, seconds=120)
    assert seen["state"] == "finished" and seen["trials"] == {"complete": 10}
    # 5: what became of the first six?
    again = {trial["number"]: trial for trial in (await agent.ask("show", sweep=first, top=1000))["trials"]}
    assert again[best["number"]]["value"] == best["value"]
    # 6: do two sweeps differ?
    second = (await agent.ask("submit", spec=spec("second", seed=1)))["sweep"]
    await agent.ask("watch", sweep=second, seconds=120)
    compared = await agent.ask("compare", first=first, second=second)
    assert compared["sentence"]
    # 7: why did trials fail?
    third = (await agent.ask("submit", spec=spec("third", high=1e4, seed=2)))["sweep"]
    seen = await agent.ask("watch", sweep=third, seconds=120)
    assert seen["trials"]["diverged"] >= 1
    diverged = [t for t in (await agent.ask("show", sweep=third, top=1000))["trials"] if t["state"] == "diverged"]
    assert all(trial["params"]["lr_exponent"] > -0.53 and "NaN" in trial["evidence"] for trial in diverged)
    # 8: stop one that runs, add a point of one's own, go on
    fourth = (await agent.ask("submit", spec=spec("fourth", pause=0.05, trials=6)))["sweep"]
    await agent.ask("stop", sweep=fourth)
    assert (await agent.ask("watch", sweep=fourth, seconds=0))["state"] == "interrupted"
    await agent.ask("resume", sweep=fourth)
    assert (await agent.ask("watch", sweep=fourth, seconds=120))["trials"] == {"complete": 6}
    # 9: why did a whole sweep fail?
    (folder / "broken.py").write_text("def train(config, report):\n    raise ValueError('no such data set')\n")
    broken = (await agent.ask("submit", spec=spec("broken").replace("train.py", "broken.py")))["sweep"]
    seen = await agent.ask("watch", sweep=broken, seconds=120)
    assert seen["trials"] == {"failed": 6} and seen["best"] is None
    failed = (await agent.ask("show", sweep=broken))["trials"]
    assert all("no such data set (broken.py, line 2)" in trial["evidence"] for trial in failed)
    assert "no such data set" in (await agent.ask("logs", sweep=broken))["log"]
    # 10: pull the best for a rerun
    file = folder / "best.yaml"
    file.write_text((await agent.ask("best", sweep=first))["best_file"])
    assert "lr" in file.read_text()
    assert len(await agent.ask("list_sweeps", state="finished")) >= 3
