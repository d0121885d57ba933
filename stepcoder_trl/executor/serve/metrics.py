"""Counters of the service, as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self, workers: int) -> None:
        self.registry = CollectorRegistry()
        self.programs = Counter(
            "stepcoder_programs",
            "Programs by protocol and outcome. `sandbox_error` is no outcome of a program.",
            ("protocol", "outcome"),
            registry=self.registry,
        )
        self.waiting = Gauge("stepcoder_programs_waiting", "Programs that wait for a worker.", registry=self.registry)
        self.running = Gauge("stepcoder_programs_running", "Programs that run.", registry=self.registry)
        self.cpu = Counter("stepcoder_cpu_seconds", "CPU seconds of programs.", registry=self.registry)
        self.seconds = Histogram(
            "stepcoder_program_seconds",
            "Wall seconds from the arrival of a program to its result.",
            ("protocol",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.requests = Counter(
            "stepcoder_requests", "Requests by path and status.", ("path", "status"), registry=self.registry
        )
        self.defects = Counter(
            "stepcoder_defects", "Requests and programs that an error of the service stopped.", registry=self.registry
        )
        Gauge("stepcoder_workers", "Programs that run at a time.", registry=self.registry).set(workers)

    def text(self) -> bytes:
        """Return all counters in Prometheus's text format."""
        text: bytes = generate_latest(self.registry)
        return text
