"""Counts and times of a server, as Prometheus reads them."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"namespace": "edgeyolo", "registry": self.registry}
        self.requests = Counter("requests", "Requests answered.", ["endpoint", "code"], **made)
        self.rejects = Counter("rejects", "Requests refused or not finished, by cause.", ["cause"], **made)
        self.queue = Gauge("queue_images", "Images that wait for a worker.", ["model"], **made)
        self.accepted = Gauge("accepted_images", "Images accepted, not yet answered.", ["model"], **made)
        self.workers = Gauge("workers", "Workers with an open session.", ["model"], **made)
        self.lost = Counter("workers_lost", "Workers that ended by themselves.", ["model"], **made)
        self.reloads = Counter("reloads", "Artifacts opened again.", ["model"], **made)
        self.batch = Histogram("batch_images", "Images in a batch.", ["model"], buckets=_IMAGES, **made)
        self.stages = Histogram(
            "stage_seconds",
            "Seconds by stage: queue of an image; decode, preprocess, inference, postprocess and draw of a batch.",
            ["model", "stage"],
            buckets=_SECONDS,
            **made,
        )
        self.latency = Histogram(
            "request_seconds", "Seconds from request to answer.", ["endpoint"], buckets=_SECONDS, **made
        )
        ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        """Write all of them in Prometheus's text format."""
        return generate_latest(self.registry)
