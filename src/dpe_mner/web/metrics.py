"""What the service counts, in Prometheus' words. Each application has counters of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_POSTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Requests by path and status, their time, posts, batches, what waits and what was dropped."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter("dpe_mner_requests", "Requests answered.", ["path", "status"], registry=own)
        self.seconds = Histogram(
            "dpe_mner_request_seconds", "Time of a request.", ["path"], buckets=_SECONDS, registry=own
        )
        self.refused = Counter("dpe_mner_refused", "Requests refused, by reason.", ["code"], registry=own)
        self.posts = Counter("dpe_mner_posts", "Posts answered.", registry=own)
        self.dropped = Counter(
            "dpe_mner_dropped", "Posts whose client went away before they were computed.", registry=own
        )
        self.batches = Histogram("dpe_mner_batch_posts", "Posts computed together.", buckets=_POSTS, registry=own)
        self.computing = Histogram("dpe_mner_batch_seconds", "Time of a batch.", buckets=_SECONDS, registry=own)
        self.waiting = Gauge("dpe_mner_waiting_posts", "Posts that wait to be computed.", registry=own)
        self.held = Gauge("dpe_mner_held_bytes", "Bytes of the bodies held.", registry=own)

    def text(self) -> bytes:
        """In the format that Prometheus reads."""
        return generate_latest(self.registry)
