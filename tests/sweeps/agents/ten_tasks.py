"""Ten tasks that an agent solves by the tools of the Model Context Protocol alone, in a home or of a service."""

import json
from pathlib import Path
from typing import Any

from mcp import Client

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


async def ten_tasks(agent: Agent, folder: Path, stopped: str) -> None:
    """Solve ten tasks by the tools alone, and check each. folder: of train.py. stopped: its state when stopped."""
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
    assert (await agent.ask("watch", sweep=fourth, seconds=0))["state"] == stopped
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
    listed = await agent.ask("list_sweeps", state="finished", limit=2)
    assert len(listed["sweeps"]) == 2 < listed["sweeps_in_all"]
