"""What is inside OTHER, and what is new: messages grouped by what the encoder reads in them.

Two tables: `topics`, a row for each group, and `topic_tickets`, which ticket belongs to which. Phrases are of common English
words only, come from five tickets or more, and are no name, number or address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from ecomintent_batch.analytics.clusters import cluster_messages
from ecomintent_batch.analytics.examples import Example, read_messages
from ecomintent_batch.analytics.history import list_plain_words, open_history, read_summary
from ecomintent_batch.errors import UsageError
from ecomintent_batch.inference.engines import open_model
from ecomintent_batch.inference.features import read_features
from ecomintent_batch.runs.layout import TOPIC_TICKETS, TOPICS
from ecomintent_batch.runs.records import Manifest
from ecomintent_batch.runs.store import RunStore
from ecomintent_batch.schema import probability_column
from ecomintent_batch.storage.duck import quote_identifier, quote_text

if TYPE_CHECKING:
    import polars as pl

ANY = "any"
_WEEKS = 13
DAYS = 28  # the newest ones, which are compared with twice as many before them
_LEAST_TICKETS = 5
_MOST_MESSAGES = 100_000
_MOST_PHRASES, _MOST_NEAREST, _MOST_EXAMPLES, _MOST_DRAFTED = 5, 2, 3, 10
_PAIR_IS_WORTH = 1.5  # of a word: it says more, and comes less often

_CHOSEN = """
CREATE OR REPLACE TEMP TABLE chosen AS
SELECT run_id, row_number, ticket_id, top_intent, message_hash, message, {day} AS day
FROM tickets
WHERE message IS NOT NULL AND status = 'ok' AND {condition}
"""
_MESSAGES = """
SELECT message_hash, any_value(message) AS message
FROM chosen
GROUP BY message_hash
ORDER BY hash(message_hash), message_hash
LIMIT ?
"""
_TOPIC_TICKETS = """
CREATE OR REPLACE TEMP TABLE placed AS
WITH sized AS (
    SELECT topic, row_number() OVER (ORDER BY count(*) DESC, min(distance), min(message_hash))::INTEGER AS place
    FROM chosen JOIN grouped USING (message_hash)
    WHERE topic >= 0
    GROUP BY topic
    HAVING count(*) >= {least}
)
SELECT chosen.*, place AS topic, distance
FROM chosen JOIN grouped USING (message_hash) LEFT JOIN sized USING (topic)
"""
_COUNTED = """
WITH bounds AS (
    SELECT max({day}) AS last_day, min({day}) AS first_day FROM tickets
    WHERE coalesce({day} <= classified_at::DATE + 1, true)
),
days AS (
    SELECT
        count(*) FILTER ({day} > last_day - {days}) AS newest,
        count(*) FILTER ({day} > last_day - 3 * {days} AND {day} <= last_day - {days}) AS before,
        newest / nullif(before, 0) AS ratio,
        any_value(last_day) AS last_day,
        any_value(last_day - first_day) AS span
    FROM tickets CROSS JOIN bounds
),
sized AS (
    SELECT
        topic, count(*) AS tickets, count(DISTINCT message_hash) AS messages,
        count(*) FILTER (day > last_day - {days}) AS newest,
        count(*) FILTER (day > last_day - 3 * {days} AND day <= last_day - {days}) AS before
    FROM placed CROSS JOIN days
    WHERE topic IS NOT NULL
    GROUP BY topic
)
SELECT
    topic, tickets, tickets / (SELECT count(*) FROM chosen) AS share, messages,
    CASE WHEN ratio IS NOT NULL AND span >= {days} THEN sized.newest END AS newest_tickets,
    CASE WHEN span >= {days} THEN sized.before * ratio END AS usual_tickets,
    CASE WHEN span >= {days} THEN
        2 * (sqrt(sized.newest + 0.375) - sqrt(sized.before * ratio + 0.375)) / sqrt(1 + ratio)
    END AS score,
    sqrt(2 * ln(count(*) OVER () / 0.05)) AS bound
FROM sized CROSS JOIN days
ORDER BY topic
"""
# Class-based TF-IDF: how many tickets of the topic have a phrase, against how many of all have it, other intents included.
_PHRASES = r"""
WITH texts AS (
    SELECT coalesce(topic, 0) AS topic, message FROM placed
    UNION ALL
    SELECT 0, message FROM (
        SELECT message FROM tickets ANTI JOIN placed USING (run_id, row_number)
        WHERE message IS NOT NULL AND status = 'ok'
        ORDER BY hash(row_number), run_id, row_number
        LIMIT 50_000
    )
),
split AS (
    SELECT topic, regexp_extract_all(
        regexp_replace(lower(message), '\S*(@|//|www\.|\d)\S*', ' ', 'g'), '[a-z'']+'
    ) AS words
    FROM texts
),
sizes AS (
    SELECT topic, count(*) AS size, sum(count(*)) OVER () AS all_size FROM texts GROUP BY topic
),
phrases AS (
    SELECT topic, unnest(list_distinct(
        words || list_transform(list_zip(words[:-2], words[2:]), lambda pair: pair[1] || ' ' || pair[2])
    )) AS phrase
    FROM split
),
counted AS (
    SELECT topic, phrase, count(*) AS tickets, sum(count(*)) OVER (PARTITION BY phrase) AS everywhere
    FROM phrases
    WHERE length(split_part(phrase, ' ', 1)) > 3 AND length(split_part(phrase, ' ', -1)) > 3
    GROUP BY topic, phrase
),
shown AS (
    SELECT unnest(?::VARCHAR[]) AS word
),
average AS (
    SELECT avg(size) AS size FROM sizes
)
SELECT topic, phrase
FROM counted JOIN sizes USING (topic) CROSS JOIN average
WHERE
    topic > 0 AND counted.tickets >= ? AND counted.tickets / sizes.size > 2 * everywhere / all_size
    AND split_part(phrase, ' ', 1) IN (FROM shown) AND split_part(phrase, ' ', -1) IN (FROM shown)
ORDER BY
    topic, counted.tickets * ln(1 + average.size / everywhere) * CASE WHEN contains(phrase, ' ') THEN ? ELSE 1 END DESC, phrase
"""
_NEAREST = """
SELECT topic, top_intent, count(*) / any_value(size) AS share
FROM (SELECT *, count(*) OVER (PARTITION BY topic) AS size FROM placed)
WHERE topic IS NOT NULL AND top_intent <> 'OTHER'
GROUP BY topic, top_intent
ORDER BY topic, share DESC, top_intent
"""
_NEAR_THE_MIDDLE = """
SELECT topic, run_id, row_number, ticket_id
FROM placed
WHERE topic IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY topic, message_hash ORDER BY run_id DESC, row_number) = 1
ORDER BY topic, distance, run_id, row_number
"""


@dataclass(frozen=True, kw_only=True)
class TopicOptions:
    """What is grouped, and how.

    Attributes:
        intents: First choices whose messages are grouped; none for those that are OTHER or unsure, `any` for all.
        model: Model folder or id whose encoder reads the messages; that of the run when None.
        seed: Random seed.
    """

    intents: tuple[str, ...] = ()
    model: str | None = None
    seed: int = 0


def find_topics(
    store: RunStore, manifest: Manifest, options: TopicOptions | None = None
) -> dict[str, pl.DataFrame]:
    """Return the tables of topics of a run, and of the thirteen weeks of its history before.

    Args:
        store: Where the runs are.
        manifest: The run; its messages were kept.
        options: What to group, and how.

    Raises:
        UsageError: The run kept no messages.
        ModelError: The model of the run is not there any more.
    """
    import polars as pl

    options = options or TopicOptions()
    if not manifest.settings.keep_text:
        raise UsageError(
            f"topics: expected a run with --keep-text, found {manifest.run_id} without; run again with it"
        )
    connection = open_history(store, manifest, weeks=_WEEKS)
    day = _choose(connection, manifest, options)
    messages = connection.execute(_MESSAGES, [_MOST_MESSAGES]).pl()
    model = open_model(options.model or manifest.settings.model)
    found = cluster_messages(read_features(model, messages["message"].to_list()), options.seed)
    grouped = messages.select("message_hash").with_columns(
        topic=pl.Series(found.topics), distance=pl.Series(found.distances)
    )
    connection.register("grouped", grouped)
    connection.execute(_TOPIC_TICKETS.format(least=_LEAST_TICKETS))
    topics = _describe(connection, day)
    tickets = connection.sql(
        "SELECT run_id, row_number, ticket_id, topic, distance FROM placed WHERE topic IS NOT NULL "
        "ORDER BY topic, distance, run_id, row_number"
    ).pl()
    connection.close()
    return {TOPICS: topics, TOPIC_TICKETS: tickets}


def read_topics(store: RunStore, manifest: Manifest) -> dict[str, pl.DataFrame]:
    """Return the tables of topics that a run has; none where it has none."""
    found = {name: read_summary(store, manifest.run_id, name) for name in (TOPICS, TOPIC_TICKETS)}
    return {name: table for name, table in found.items() if table is not None}


def draft_intent(store: RunStore, manifest: Manifest, topic: int) -> str:
    """Return the draft of a taxonomy file with an intent made of a topic: a name, a description, examples.

    Raises:
        UsageError: The run has no such topic.
    """
    tables = read_topics(store, manifest)
    (row,) = pick_topic(tables, topic).to_dicts()
    near = tables[TOPIC_TICKETS].filter(topic=topic).head(10 * _MOST_DRAFTED)
    connection = open_history(store, manifest, weeks=_WEEKS)
    rows = near.select("run_id", "row_number").rows()
    messages = read_messages(connection, rows)
    connection.close()
    examples = list(
        dict.fromkeys(" ".join(messages[row].split()) for row in rows if row in messages)
    )
    name = re.sub(r"\W+", "_", row["phrases"].partition(",")[0]).strip("_").upper()
    said = f"about {row['phrases']}" if row["phrases"] else "of a kind that has no intent yet"
    lines = [
        f"# A draft from topic {topic} of run {manifest.run_id}: {row['tickets']:,} tickets, "
        f"nearest {row['nearest_intents'] or 'none'}.",
        "# Give it a name and a description of what the customer wants; leave out examples that do not belong.",
        'extends = "nine_intents"',
        "",
        f"[intents.{name or f'TOPIC_{topic}'}]",
        f"description = {_quote(f'The customer writes {said}.')}",
        "examples = [",
        *(f"    {_quote(text)}," for text in examples[:_MOST_DRAFTED]),
        "]",
    ]
    return "\n".join(lines)


def find_examples_of_topics(
    connection: duckdb.DuckDBPyConnection, tickets: pl.DataFrame
) -> dict[str, list[Example]]:
    """Return up to three tickets of each topic, nearest to its middle, each message once, by `topic` and its number.

    Args:
        connection: Shows the tickets of the run and of its history.
        tickets: The table `topic_tickets`.
    """
    near = tickets.group_by("topic", maintain_order=True).head(10 * _MOST_EXAMPLES)
    messages = read_messages(connection, near.select("run_id", "row_number").rows())
    found: dict[str, dict[str, Example]] = {}
    for row in near.iter_rows(named=True):
        message = messages.get((row["run_id"], row["row_number"]), "")
        one = Example(
            row["run_id"],
            row["row_number"],
            row["ticket_id"] or f"row {row['row_number']}",
            message,
        )
        found.setdefault(f"topic {row['topic']}", {}).setdefault(message, one)
    return {key: list(examples.values())[:_MOST_EXAMPLES] for key, examples in found.items()}


def pick_topic(tables: dict[str, pl.DataFrame], topic: int) -> pl.DataFrame:
    """Return the row of a topic.

    Raises:
        UsageError: There is none of this number.
    """
    import polars as pl

    if TOPICS not in tables:
        raise UsageError(
            "topic: expected a run with topics, found none; ecomintent-batch topics makes them"
        )
    found = tables[TOPICS].filter(pl.col("topic") == topic)
    if found.is_empty():
        raise UsageError(
            f"topic {topic}: expected one of 1 to {len(tables[TOPICS])}, found none of this number"
        )
    return found


def _choose(
    connection: duckdb.DuckDBPyConnection, manifest: Manifest, options: TopicOptions
) -> str:
    """Make the table of the tickets to group, and return the SQL of the day of a ticket.

    Raises:
        UsageError: An intent is not one of the run's model.
    """
    columns = connection.table("tickets").columns
    for intent in options.intents:
        if intent != ANY and probability_column(intent) not in columns:
            known = [name.removeprefix("prob_") for name in columns if name.startswith("prob_")]
            raise UsageError(
                f"--intent: expected one of {', '.join(known)} or {ANY}, found {intent!r}"
            )
    time_column = manifest.columns.kept_time
    day = f"CAST({quote_identifier(time_column)} AS DATE)" if time_column else "NULL::DATE"
    condition = f"(intent = {quote_text(manifest.other)} OR below_threshold)"
    if options.intents:
        condition = "true" if ANY in options.intents else "lower(top_intent) IN (SELECT unnest(?))"
    values = [[intent.lower() for intent in options.intents]] if "?" in condition else []
    connection.execute(_CHOSEN.format(day=day, condition=condition), values)
    return day


def _describe(connection: duckdb.DuckDBPyConnection, day: str) -> pl.DataFrame:
    """Return a row for each topic."""
    import polars as pl

    topics = connection.sql(_COUNTED.format(day=day, days=DAYS)).pl()
    phrases = connection.execute(_PHRASES, [list_plain_words(), _LEAST_TICKETS, _PAIR_IS_WORTH])
    said = _collect(phrases.fetchall())
    near = _collect(connection.sql(_NEAREST).fetchall())
    middle = _collect(connection.sql(_NEAR_THE_MIDDLE).fetchall())
    numbers = topics["topic"].to_list()
    typical = [
        [row[2] or f"row {row[1]}" for row in middle.get(n, [])[:_MOST_EXAMPLES]] for n in numbers
    ]
    return topics.with_columns(
        pl.Series(
            "phrases", [", ".join(_pick_phrases(said.get(n, []))) for n in numbers], pl.String
        ),
        pl.Series(
            "nearest_intents", [_describe_nearest(near.get(n, [])) for n in numbers], pl.String
        ),
        *(
            pl.Series(
                f"ticket_{i + 1}", [(ids[i : i + 1] or [None])[0] for ids in typical], pl.String
            )
            for i in range(_MOST_EXAMPLES)
        ),
    )


def _collect(rows: Iterable[tuple[Any, ...]]) -> dict[int, list[tuple[Any, ...]]]:
    """Return what follows the number of the topic, by that number."""
    by_topic: dict[int, list[tuple[Any, ...]]] = {}
    for topic, *rest in rows:
        by_topic.setdefault(topic, []).append(tuple(rest))
    return by_topic


def _pick_phrases(phrases: Sequence[tuple[Any, ...]]) -> list[str]:
    """Return the first few that share no word."""
    used: set[str] = set()
    picked: list[str] = []
    for (phrase,) in phrases:
        words = set(phrase.split())
        if not words & used and len(picked) < _MOST_PHRASES:
            used |= words
            picked.append(phrase)
    return picked


def _describe_nearest(intents: Sequence[tuple[Any, ...]]) -> str:
    return ", ".join(f"{intent} {share:.0%}" for intent, share in intents[:_MOST_NEAREST])


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # as TOML writes a string
