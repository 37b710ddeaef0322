"""An agent at the tools of `sweep mcp --server`: by its token, what a person does with the service's commands."""

import asyncio
import sys
import textwrap

import pytest

pytest.importorskip("mcp", reason="the package mcp is not installed")
from mcp import Client, StdioServerParameters

from tests.services.test_cli import Desk, desk, served
from tests.sweeps.agents.ten_tasks import SOURCE, Agent, spec, ten_tasks

__all__ = ["desk", "served"]  # fixtures


def with_token(served: Desk, owner: str, role: str) -> dict[str, str]:
    """Return the environment of somebody with a new token."""
    made = served.run("token", "create", "--owner", owner, "--role", role)
    assert made.returncode == 0, made.stderr
    return served.env | {"SWEEP_TOKEN": made.stdout.strip()}


@pytest.mark.slow
def test_an_agent_solves_ten_tasks_with_a_service_by_its_token_and_within_its_quota(served: Desk) -> None:
    (served.folder / "train.py").write_text(textwrap.dedent(SOURCE))
    command = ["-m", "espalier.sweeps.cli", "mcp", "--server", served.server]

    def server(env: dict[str, str]) -> StdioServerParameters:
        return StdioServerParameters(command=sys.executable, args=command, cwd=served.folder, env=env)

    async def solve(env: dict[str, str]) -> None:
        async with Client(server(env)) as client:
            await ten_tasks(Agent(client), served.folder, "stopped")
            sixteen = served.run("quota", "ada", "--trials", "16")
            assert sixteen.returncode == 0, sixteen.stderr
            assert "quota: trials" in await Agent(client).refused("submit", spec=spec("beyond"))

    async def look(env: dict[str, str]) -> None:
        async with Client(server(env)) as client:
            agent = Agent(client)
            (first,) = [row for row in (await agent.ask("list_sweeps"))["sweeps"] if row["sweep"].startswith("first")]
            assert (await agent.ask("show", sweep=first["sweep"]))["trials_in_all"] == 10
            assert "role" in await agent.refused("submit", spec=spec("mine"))
            assert "role" in await agent.refused("extend", sweep=first["sweep"], trials=1)

    async def stranger(env: dict[str, str]) -> None:
        async with Client(server(env)) as client:
            assert await Agent(client).ask("list_sweeps") == {"sweeps": [], "sweeps_in_all": 0}

    asyncio.run(solve(ada := with_token(served, "ada", "submit")))
    asyncio.run(look(with_token(served, "ada", "read")))
    asyncio.run(stranger(with_token(served, "bob", "submit")))
    served.env = ada  # for the end
