"""Addresses of servers and databases: shown without their secrets."""

import re
import socket
from urllib.parse import urlsplit


def no_secret(address: str) -> str:
    """Return an address without the password it may carry, before its host or among its options.

    >>> no_secret("postgresql://me:se/cr@t@host:5432/optuna")
    'postgresql://me:***@host:5432/optuna'
    >>> no_secret("postgresql://me@host/optuna?password=secret&sslmode=require")
    'postgresql://me@host/optuna?password=***&sslmode=require'
    >>> no_secret("http://host:5000")
    'http://host:5000'
    """
    shown = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", address)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", shown)


def without_login(address: str) -> str:
    """Return a server's address without a login and a last slash.

    >>> without_login("https://me:secret@host/mlflow/")
    'https://host/mlflow'
    """
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


def open_port(host: str, port: int) -> socket.socket:
    """Return a socket bound to a port of this machine. Raises OSError if that cannot be, as where it is taken."""
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
    except OSError:
        bound.close()
        raise
    return bound
