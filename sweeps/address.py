"""Addresses of servers and databases, and how to show them without their secrets."""

import re
import socket
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

UI_PORT = 5000
UI = f"http://127.0.0.1:{UI_PORT}"  # where `sweep ui` serves MLflow by default
ON_MODELS = "workflowType=machine_learning"  # without it MLflow opens a page about traces, which are not used here


def no_secret(address: str) -> str:
    """Return an address with passwords masked, before its host and among its query options.

    >>> no_secret("postgresql://me:se/cr@t@host:5432/optuna")
    'postgresql://me:***@host:5432/optuna'
    >>> no_secret("postgresql://me@host/optuna?password=secret&sslmode=require")
    'postgresql://me@host/optuna?password=***&sslmode=require'
    >>> no_secret("http://host:5000")
    'http://host:5000'
    """
    shown = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", address)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", shown)


def without_secrets(text: str) -> str:
    """Return a text in which all addresses are without logins, and their query options without passwords and tokens.

    >>> without_secrets('"uri": "https://me:pw@host/mlflow?token=ab12&x=1", "mail": "a@b"')
    '"uri": "https://host/mlflow?token=***&x=1", "mail": "a@b"'
    """
    shown = re.sub(r"""(://)[^/\s"'<>]*@""", r"\1", text)
    return re.sub(r"""([?&]\w*(?:password|token|secret|key)\w*=)[^&\s"'<>\\]+""", r"\1***", shown)


def without_login(address: str) -> str:
    """Return a server's address without login and trailing slash.

    >>> without_login("https://me:secret@host/mlflow/")
    'https://host/mlflow'
    """
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


def open_port(host: str, port: int) -> socket.socket:
    """Return a socket bound to a port of this machine. Raises OSError if it cannot be bound."""
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


def sqlite_url(file: Path) -> str:
    """Return the URL of a sqlite file, with special characters in its path quoted.

    >>> sqlite_url(Path("/home/me/mlflow.db")), sqlite_url(Path("/what?/50%/mlflow.db"))
    ('sqlite:////home/me/mlflow.db', 'sqlite+pysqlite:////what%3F/50%25/mlflow.db')
    """
    plain, quoted = str(file), quote(str(file), safe="/", errors="surrogateescape")
    # with the driver's name MLflow does not create a folder named like the quoted path
    return f"sqlite:///{plain}" if plain == quoted else f"sqlite+pysqlite:///{quoted}"


def sqlite_file(url: str) -> Path | None:
    """Return the file of a sqlite URL, None for other addresses.

    >>> sqlite_file("sqlite+pysqlite:////what%3F/50%25/mlflow.db?timeout=5").as_posix()
    '/what?/50%/mlflow.db'
    """
    scheme, _, rest = url.partition(":///")
    name = unquote(rest.partition("?")[0], errors="surrogateescape")
    return Path(name) if scheme.split("+")[0] == "sqlite" and name not in ("", ":memory:") else None


def mlflow_page(server: str, experiment: str | None = None, run: str | None = None) -> str:
    """Return the address of MLflow's page on an experiment's runs, or on one run.

    >>> mlflow_page("http://127.0.0.1:5000/", "1", "ab12")
    'http://127.0.0.1:5000/#/experiments/1/runs/ab12?workflowType=machine_learning'
    """
    inside = "".join((f"/{experiment}" if experiment else "", f"/runs/{run}" if experiment and run else ""))
    return f"{without_login(server)}/#/experiments{inside}?{ON_MODELS}"


def trials_page(server: str, experiment: str, sweep: str) -> str:
    """Return the address of MLflow's table of a sweep's trials, the best first: a saved view, called as the sweep.

    >>> trials_page("", "1", "names-1")
    '/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=names-1'
    """
    return f"{without_login(server)}/#/experiments/{experiment}/runs?{ON_MODELS}&viewStateShareKey={quote(sweep)}"


def artifact_page(server: str, experiment: str, run: str, file: str) -> str:
    """Return the address of MLflow's page of one artifact of a run.

    >>> artifact_page("http://127.0.0.1:5000", "1", "ab12", "report.html")
    'http://127.0.0.1:5000/#/experiments/1/runs/ab12/artifacts/report.html?workflowType=machine_learning'
    """
    return f"{without_login(server)}/#/experiments/{experiment}/runs/{run}/artifacts/{quote(file)}?{ON_MODELS}"
