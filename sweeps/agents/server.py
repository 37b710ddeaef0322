"""The tools as a server of the Model Context Protocol, on standard input and output. Only this file imports mcp.

Source: https://modelcontextprotocol.io/specification
"""

from functools import partial, wraps
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

from espalier.core.errors import BadInput
from espalier.sweeps.agents.commands import Commands
from espalier.sweeps.agents.tools import Tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server import MCPServer

MISSING = "the package mcp is missing; pip install 'espalier[mcp]'"
INSTRUCTIONS = (
    "Espalier finds learning rates and other hyperparameters: sweeps of many trainings. To begin one: spec_fields, "
    "check, submit; then watch until it is finished, explain for the answer with its uncertainty, best for the "
    "configuration. A sweep that has ended can be extended, and compared with another. An error says what would work."
)


def server_of(commands: Commands) -> "MCPServer[Any]":
    """Return a server of the tools. Raises BadInput if the package mcp is not installed."""
    try:
        from anyio.to_thread import run_sync
        from mcp.server import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as error:
        raise BadInput(MISSING) from error

    def told(tool: "Callable[..., Any]") -> "Callable[..., Any]":
        @wraps(tool)
        async def called(*args: Any, **kwargs: Any) -> Any:
            try:
                return await run_sync(partial(tool, *args, **kwargs))  # or a tool that waits would stop all others
            except BadInput as error:
                raise ToolError(str(error)) from error

        return called

    server: MCPServer[Any] = MCPServer("espalier", instructions=INSTRUCTIONS, log_level="WARNING")
    for tool in Tools(commands).all():
        server.tool(description=cleandoc(tool.__doc__ or ""))(told(tool))
    return server


def serve(commands: Commands) -> None:
    """Serve the tools on standard input and output until the agent closes them. Raises BadInput without mcp."""
    server_of(commands).run("stdio")
