"""The tools as a server of the Model Context Protocol, on standard input and output. Only this file imports mcp.

Source: https://modelcontextprotocol.io/specification
"""

from functools import partial, wraps
from inspect import cleandoc, signature
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from espalier.core.errors import BadInput, brief, nearest, shown, within
from espalier.sweeps.agents.commands import Commands
from espalier.sweeps.agents.tools import Tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server import MCPServer

MISSING = "the package mcp is missing; pip install 'espalier[mcp]'"
WRONG_MOST = 10  # the most wrong arguments in a message
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

    tools = Tools(commands).all()
    known = {tool.__name__: [*signature(tool).parameters] for tool in tools}

    class Server(MCPServer[Any]):
        """A server that refuses wrong arguments in one line; the package's own words are several, with an address."""

        async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
            for unknown in sorted(set(arguments) - set(known.get(name, arguments))):
                hint = nearest(unknown, known[name]) if known[name] else "it takes none"
                raise ToolError(f"Error executing tool {name}: {brief(unknown)}: unknown argument; {hint}")
            try:
                return await super().call_tool(name, arguments, context)
            except ToolError as error:
                if isinstance(error.__cause__, ValidationError):
                    raise ToolError(f"Error executing tool {name}: {_refusal(error.__cause__)}") from error
                raise

    server = Server("espalier", instructions=INSTRUCTIONS, log_level="WARNING")
    for tool in tools:
        server.tool(description=cleandoc(tool.__doc__ or ""))(told(tool))
    return server


def _refusal(error: ValidationError) -> str:
    """Return what is wrong with the arguments of a tool, on one line."""
    wrong: list[str] = []
    for item in error.errors(include_url=False)[:WRONG_MOST]:
        what = f"{within(item['msg'])}; {shown(item['input'])} arrived"
        place = ".".join(map(str, item["loc"]))
        wrong.append(f"{place}: {'missing; it is required' if item['type'] == 'missing' else what}")
    return "; ".join(wrong)


def serve(commands: Commands) -> None:
    """Serve the tools on standard input and output until the agent closes them. Raises BadInput without mcp."""
    server_of(commands).run("stdio")
