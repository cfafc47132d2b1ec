"""Entities of a table of posts, with Spark.

    python examples/bulk_spark.py posts.parquet answers.parquet

The table has a column ``text``, and may have ``id`` and ``caption``. Each Python worker of Spark loads the model once
for a partition and answers its rows a batch at a time. Under ``spark-submit`` the session is the cluster's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NoReturn

SCHEMA = (
    "id string, entities array<struct<text: string, label: string, start: bigint, "
    "end: bigint, word_start: bigint, word_end: bigint, score: double>>"
)
MODEL = None  # a folder that every worker can read, or a hub id; the bundled model


def answers(batches: Iterator[Any]) -> Iterator[Any]:
    """Data frames of posts to data frames of answers, row by row in order; what ``mapInPandas`` calls."""
    import pandas

    import dpe_mner
    from dpe_mner import Post

    model = dpe_mner.load(MODEL)
    for batch in batches:
        rows = batch.astype(object).where(batch.notna(), None).to_dict("records")
        posts = [Post(id=str(row.get("id") or ""), text=row["text"] or "", caption=row.get("caption")) for row in rows]
        entities = [[entity.as_dict() for entity in found] for found in model.predict(posts)]
        yield pandas.DataFrame({"id": [post.id for post in posts], "entities": entities})


def fail(message: str) -> NoReturn:
    """One line, exit status 2."""
    sys.stderr.write(f"bulk_spark.py: {message}\n")
    sys.exit(2)


def main(source: str, target: str) -> None:
    """Read, answer and write Parquet."""
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        fail("needs pyspark; run pip install pyspark pandas pyarrow")
    spark = SparkSession.builder.appName("dpe-mner").getOrCreate()
    posts = spark.read.parquet(source)
    if "text" not in posts.columns:
        fail(f"{source}: no column 'text'; there are: {', '.join(posts.columns)}; rename the one with the posts")
    posts.mapInPandas(answers, schema=SCHEMA).write.mode("errorifexists").parquet(target)
    spark.stop()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        fail("usage: bulk_spark.py POSTS.parquet ANSWERS.parquet")
    main(sys.argv[1], sys.argv[2])
