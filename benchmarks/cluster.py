"""A cluster that answers posts while its machines fail, simulated: how long, what is done twice, what waits for what.

    python benchmarks/cluster.py --posts 100000000 --machines 10 --rate 56 --start 3 --part 10000

What is assumed is an argument, and printed with the result: take the figures of your own machines (`dpe-mner bench`,
`benchmarks/bulk.py`). Posts are cut into parts; a worker takes a part, reads it from a shared store, answers it and
writes it. A machine that fails loses the parts its workers were at, which are done again; after its repair its
workers load the model anew. Machines fail independently, after times drawn from an exponential distribution.
"""

from __future__ import annotations

import json
import random
from collections.abc import Generator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What is assumed.

    Attributes:
        posts: To answer.
        machines: Of the cluster.
        cores: Workers of a machine, a core each.
        rate: Posts a second of a worker.
        start: Seconds until a worker has its model.
        part: Posts of a part.
        bytes_in: Of a post, with its picture if there is one.
        bytes_out: Of an answer.
        store: Bytes a second that the shared store gives or takes, all together.
        between_failures: Hours between failures of a machine, in the mean.
        repair: Minutes until it is back.
    """

    posts: int
    machines: int
    cores: int
    rate: float
    start: float
    part: int
    bytes_in: float
    bytes_out: float
    store: float
    between_failures: float
    repair: float


class Simulation:
    """One run of a cluster.

    Args:
        cluster: What is assumed.
        seed: Of the failures.
    """

    def __init__(self, cluster: Cluster, *, seed: int) -> None:
        import simpy

        self.cluster = cluster
        self.world = simpy.Environment()
        self.interrupted = simpy.Interrupt
        self.draw = random.Random(seed)  # noqa: S311  # failures of a simulation
        self.parts = -(-cluster.posts // cluster.part)
        self.waiting = self.parts
        self.done = 0
        # One transfer after the other at full speed takes as long as many together at a share of it.
        self.store = simpy.Resource(self.world, capacity=1)
        self.spent = dict.fromkeys(("answering", "store", "starting"), 0.0)
        self.failures = self.lost = 0
        self.finished = self.world.event()

    def __call__(self) -> dict[str, float]:
        """Run until all posts are answered.

        Returns:
            Hours, failures, the share of the parts that were begun again, and the shares of the workers' time that
            went into answering, the store and its queue, and starting; the rest they lay still.
        """
        for _ in range(self.cluster.machines):
            self.world.process(self._machine())
        self.world.run(until=self.finished)
        total = self.world.now * self.cluster.machines * self.cluster.cores
        return {
            "hours": round(self.world.now / 3600, 2),
            "failures": self.failures,
            "parts_begun_again": round(self.lost / self.parts, 5),
            **{f"share_{name}": round(seconds / total, 4) for name, seconds in self.spent.items()},
        }

    def _machine(self) -> Generator[Any, Any, None]:
        cluster, world = self.cluster, self.world
        while not self.finished.triggered:
            workers = [world.process(self._work()) for _ in range(cluster.cores)]
            fails = world.timeout(self.draw.expovariate(1 / (cluster.between_failures * 3600)))
            yield fails | world.all_of(workers) | self.finished
            if not fails.processed:  # nothing is left for it, unless a part of another machine comes back
                yield world.timeout(cluster.part / cluster.rate) | self.finished
                continue
            self.failures += 1
            for worker in workers:
                if worker.is_alive:
                    worker.interrupt()
            yield world.timeout(cluster.repair * 60)

    def _work(self) -> Generator[Any, Any, None]:
        cluster, holding = self.cluster, False
        try:
            yield from self._spend("starting", self.world.timeout(cluster.start))
            while self.waiting:
                self.waiting -= 1
                holding = True
                yield from self._transfer(cluster.bytes_in)
                yield from self._spend("answering", self.world.timeout(cluster.part / cluster.rate))
                yield from self._transfer(cluster.bytes_out)
                self.done += 1
                holding = False
            if self.done == self.parts and not self.finished.triggered:
                self.finished.succeed()
        except self.interrupted:
            self.waiting += holding
            self.lost += holding

    def _transfer(self, size: float) -> Generator[Any, Any, None]:
        begun = self.world.now
        with self.store.request() as turn:
            yield turn
            yield self.world.timeout(size * self.cluster.part / self.cluster.store)
        self.spent["store"] += self.world.now - begun

    def _spend(self, name: str, event: Any) -> Generator[Any, Any, None]:
        begun = self.world.now
        yield event
        self.spent[name] += self.world.now - begun


def main(
    posts: Annotated[int, typer.Option(help="To answer.")] = 100_000_000,
    machines: Annotated[int, typer.Option(help="Of the cluster.")] = 10,
    cores: Annotated[int, typer.Option(help="Workers of a machine.")] = 16,
    rate: Annotated[float, typer.Option(help="Posts a second of a worker.")] = 56.0,
    start: Annotated[float, typer.Option(help="Seconds until a worker has its model.")] = 3.0,
    part: Annotated[int, typer.Option(help="Posts of a part.")] = 10_000,
    bytes_in: Annotated[float, typer.Option(help="Of a post.")] = 210.0,
    bytes_out: Annotated[float, typer.Option(help="Of an answer.")] = 250.0,
    store: Annotated[float, typer.Option(help="Bytes a second of the shared store.")] = 1e9,
    between_failures: Annotated[float, typer.Option(help="Hours between failures of a machine.")] = 720.0,
    repair: Annotated[float, typer.Option(help="Minutes until it is back.")] = 10.0,
    seeds: Annotated[int, typer.Option(help="Runs, with failures of their own.")] = 3,
) -> None:
    """Print what is assumed and the result of each run."""
    cluster = Cluster(
        posts=posts, machines=machines, cores=cores, rate=rate, start=start, part=part, bytes_in=bytes_in,
        bytes_out=bytes_out, store=store, between_failures=between_failures, repair=repair,
    )  # fmt: skip
    runs = [Simulation(cluster, seed=seed)() for seed in range(seeds)]
    typer.echo(json.dumps({"assumed": asdict(cluster), "runs": runs}, indent=1))


if __name__ == "__main__":
    typer.run(main)
