"""The service on a port of this machine, in a thread of the test's own process."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from espalier.services.serve import server_options


@contextmanager
def served(app: FastAPI, port: int = 0) -> Iterator[str]:
    """Serve an application while the block runs; give its address. port: any that is free."""
    # asyncio switches Nagle's delays off for a socket that names its protocol
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(128)  # who comes before the server is there waits for it
        options = server_options(app.state.backend.settings) | {"log_level": "error", "timeout_graceful_shutdown": 1}
        server = uvicorn.Server(uvicorn.Config(app, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
