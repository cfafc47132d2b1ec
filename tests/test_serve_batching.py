"""Posts of concurrent requests computed together: what shares a batch, what is dropped, what is refused."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("fastapi")
from serving import Capitals

from dpe_mner.pipeline import PredictionOptions
from dpe_mner.types import Post
from dpe_mner.web.batching import Batcher
from dpe_mner.web.limits import Limits
from dpe_mner.web.metrics import Metrics
from dpe_mner.web.refusals import Refused

PLAIN = PredictionOptions()


def posts(*texts: str) -> list[Post]:
    return [Post(text=text, id=text) for text in texts]


@asynccontextmanager
async def working(model, **limits):
    batcher = Batcher(model, Limits(**limits), Metrics())
    running = asyncio.create_task(batcher.run())
    await asyncio.sleep(0)
    yield batcher
    batcher.close()
    await asyncio.wait_for(running, 10)


def texts(model) -> list[list[str]]:
    return [[post.text for post in batch] for batch in model.batches]


async def begun(model) -> None:
    """Wait until the model computes."""
    assert await asyncio.to_thread(model.begun.wait, 10)
    model.begun.clear()


def test_what_waits_while_the_model_computes_makes_the_next_batch():
    async def scenario(model):
        async with working(model, batch=3) as batcher:
            first = batcher.submit(posts("A"), PLAIN)
            await begun(model)
            rest = [future for text in "BCDE" for future in batcher.submit(posts(text), PLAIN)]
            assert batcher.waiting == 4
            found = await asyncio.gather(*first, *rest)
        assert [prediction.id for prediction in found] == list("ABCDE")
        assert [prediction.entities[0].text for prediction in found] == list("ABCDE")

    model = Capitals(seconds=0.05)
    asyncio.run(scenario(model))
    assert texts(model) == [["A"], ["B", "C", "D"], ["E"]]
    assert len(model.threads) == 1
    assert threading.get_ident() not in model.threads


def test_other_options_go_into_another_batch_in_order_of_arrival():
    async def scenario(model):
        other = PredictionOptions(seed=1)
        async with working(model) as batcher:
            first = batcher.submit(posts("A"), PLAIN)
            await begun(model)
            mixed = [batcher.submit(posts(text), other if text in "CE" else PLAIN)[0] for text in "BCDE"]
            await asyncio.gather(*first, *mixed)

    model = Capitals(seconds=0.03)
    asyncio.run(scenario(model))
    assert texts(model) == [["A"], ["B", "D"], ["C", "E"]]
    assert [options.seed for options in model.options] == [0, 0, 1]


def test_a_cancelled_post_is_not_computed():
    async def scenario(model):
        async with working(model) as batcher:
            first = batcher.submit(posts("A"), PLAIN)
            await begun(model)
            dropped = batcher.submit(posts("B"), PLAIN)
            kept = batcher.submit(posts("C"), PLAIN)
            dropped[0].cancel()
            await asyncio.gather(*first, *kept)
            assert batcher.metrics.dropped._value.get() == 1

    model = Capitals(seconds=0.03)
    asyncio.run(scenario(model))
    assert texts(model) == [["A"], ["C"]]


def test_a_post_cancelled_while_it_is_computed_harms_no_other():
    async def scenario(model):
        async with working(model) as batcher:
            both = batcher.submit(posts("A", "B"), PLAIN)
            await begun(model)
            both[0].cancel()
            assert (await both[1]).id == "B"
            assert (await batcher.submit(posts("C"), PLAIN)[0]).id == "C"

    asyncio.run(scenario(Capitals(seconds=0.03)))


def test_a_full_queue_refuses_all_of_a_request_or_nothing():
    async def scenario(model):
        async with working(model, queue=3, posts=3) as batcher:
            first = batcher.submit(posts("A"), PLAIN)
            await begun(model)
            waiting = batcher.submit(posts("B", "C"), PLAIN)
            with pytest.raises(Refused, match="2 posts wait already, at most 3") as refused:
                batcher.submit(posts("D", "E"), PLAIN)
            assert refused.value.status == 429
            assert refused.value.headers == {"Retry-After": "1"}
            waiting[0].cancel()  # who went away leaves room
            late = batcher.submit(posts("F", "G"), PLAIN)
            found = await asyncio.gather(*first, waiting[1], *late)
            assert [prediction.id for prediction in found] == list("ACFG")

    model = Capitals(seconds=0.05)
    asyncio.run(scenario(model))
    assert all("D" not in batch for batch in texts(model))


def test_a_post_that_fails_fails_alone():
    async def scenario(model):
        async with working(model) as batcher:
            first = batcher.submit(posts("A"), PLAIN)
            await begun(model)
            good, refused, failed = batcher.submit(posts("B", "refuse", "fail"), PLAIN)
            with pytest.raises(Refused) as told:
                await refused
            assert (told.value.status, told.value.message) == (422, "this post is refused")
            with pytest.raises(Refused) as told:
                await failed
            assert told.value.status == 500
            assert (await good).id == "B"
            await first[0]
            assert (await batcher.submit(posts("C"), PLAIN)[0]).id == "C"

    asyncio.run(scenario(Capitals(seconds=0.01)))


def test_stopping_finishes_what_was_accepted():
    async def scenario(model):
        batcher = Batcher(model, Limits(batch=1), Metrics())
        running = asyncio.create_task(batcher.run())
        accepted = batcher.submit(posts("A", "B", "C"), PLAIN)
        batcher.close()
        with pytest.raises(Refused) as told:
            batcher.submit(posts("D"), PLAIN)
        assert told.value.status == 503
        await asyncio.wait_for(running, 10)
        assert [future.result().id for future in accepted] == list("ABC")

    asyncio.run(scenario(Capitals(seconds=0.01)))


def test_after_a_large_batch_it_waits_a_moment_for_company():
    async def scenario(model):
        async with working(model, patience=5.0) as batcher:
            await asyncio.gather(*batcher.submit(posts("A", "B", "C"), PLAIN))
            again = list(batcher.submit(posts("D"), PLAIN))
            await asyncio.sleep(0.02)
            assert len(model.batches) == 1  # it could compute D alone, and has learnt better
            again += batcher.submit(posts("E", "F"), PLAIN)
            await asyncio.wait_for(asyncio.gather(*again), 2)

    model = Capitals()
    asyncio.run(scenario(model))
    assert texts(model) == [["A", "B", "C"], ["D", "E", "F"]]


def test_a_single_client_never_waits():
    async def scenario(model):
        async with working(model, patience=5.0) as batcher:
            for text in "ABC":
                await asyncio.wait_for(batcher.submit(posts(text), PLAIN)[0], 2)

    model = Capitals()
    asyncio.run(scenario(model))
    assert texts(model) == [["A"], ["B"], ["C"]]
