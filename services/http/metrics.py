"""Metrics for Prometheus: requests, their duration, and sweeps by state."""

import time
from collections.abc import Awaitable, Callable, Iterable

from fastapi import Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from espalier.services import queue
from espalier.services.database.store import Store


class _SweepCounts(Collector):
    def __init__(self, store: Store):
        self.store = store

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily("espalier_sweeps", "Sweeps handed in, by state.", labels=["state"])
        with self.store.reading() as session:
            for state, count in queue.counts(session).items():
                family.add_metric([state], count)
        yield family


class Metrics:
    """The metrics of one process."""

    def __init__(self, store: Store):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "espalier_requests_total", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "espalier_request_seconds", "Seconds until the answer began.", ["route"], registry=self.registry
        )
        self.registry.register(_SweepCounts(store))

    async def measure(self, request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        """Count a request under its route's pattern, since each id would be a time series."""
        begin, status = time.monotonic(), 500
        try:
            response = await answer(request)
            status = response.status_code
            return response
        finally:
            route = getattr(request.scope.get("route"), "path", "other")
            self.requests.labels(request.method, route, status).inc()
            self.seconds.labels(route).observe(time.monotonic() - begin)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
