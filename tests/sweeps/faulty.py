"""A proxy that goes wrong on purpose, before a real MLflow server: which call, how, and how often, is the test's."""

import random
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

from tests.sweeps.answering import Quiet

FAULTS = ("request", "answer", "500", "429", "late", "garbage", "nothing")
"""The request is dropped; it is carried out and its answer dropped; the server says 500, or 429; it is carried out when
the client has given up; it is carried out and answered by no JSON; it is carried out and answered by `{}`."""
LATE_S = 1.6  # longer than the patience that a test gives the client

Wrong = Callable[[str, str], str | None]
"""Takes a method and a path; returns the fault that this request meets, None for none."""


def the_first(call: str, fault: str, times: int = 1) -> Wrong:
    """Have the first requests of a call go wrong: `runs/create`, or `PUT` for a method."""
    seen: Counter[str] = Counter()

    def wrong(method: str, path: str) -> str | None:
        if call not in (method, *path.split("?")[0].split("/mlflow/")[-1:]) and call not in path:
            return None
        seen[call] += 1
        return fault if seen[call] <= times else None

    return wrong


def a_share(share: float, seed: int, faults: tuple[str, ...] = FAULTS) -> Wrong:
    """Have a share of all requests go wrong, each in a way of its own."""
    draw, lock = random.Random(seed), threading.Lock()

    def wrong(method: str, path: str) -> str | None:
        with lock:
            return draw.choice(faults) if draw.random() < share else None

    return wrong


@contextmanager
def faulty(server: str, wrong: Wrong) -> Iterator[tuple[str, Counter[str]]]:
    """Serve on a port of this machine while the block runs; give the address, and how often each fault was met."""
    met: Counter[str] = Counter()

    class Proxy(Quiet):
        protocol_version = "HTTP/1.1"

        def carry(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = wrong(self.command, self.path)
            met[fault or "none"] += 1
            if fault == "request":
                self.close_connection = True
                return
            if fault in ("500", "429"):
                self.answer(int(fault), b"not now", "text/plain")
                return
            if fault == "late":
                time.sleep(LATE_S)
            code, data, kind = self.ask(body)
            if fault == "answer":
                self.close_connection = True
                return
            data = {"garbage": b"{not json", "nothing": b"{}"}.get(fault or "", data)
            self.answer(code, data, kind)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = carry

        def ask(self, body: bytes) -> tuple[int, bytes, str]:
            left = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "authorization")}
            request = urllib.request.Request(server + self.path, data=body or None, method=self.command, headers=left)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.status, answer.read(), answer.headers.get("Content-Type", "")
            except urllib.error.HTTPError as error:
                return error.code, error.read(), error.headers.get("Content-Type", "")

        def answer(self, code: int, data: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    class Server(ThreadingHTTPServer):
        daemon_threads, block_on_close = True, False

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing: a client that has given up is what the tests are about."""

    with Server(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_port}", met
        finally:
            proxy.shutdown()
            thread.join()
