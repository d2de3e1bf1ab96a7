"""What is inside OTHER: planted groups are found by the embedded model's features, described in words, drafted, and labelled."""

from __future__ import annotations

import re
import tomllib
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.committed_runs import describe, summarise, write_run
from support.tickets import write_tickets
from typer.testing import CliRunner

from ecomintent_batch.analytics.clusters import NO_TOPIC, cluster_messages
from ecomintent_batch.analytics.topics import TopicOptions, find_topics
from ecomintent_batch.cli.app import app
from ecomintent_batch.errors import UsageError
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.runs.store import LocalRuns
from ecomintent_batch.settings import load_settings

LAST = datetime(2026, 10, 30, 9)
GIFT = [
    "my gift card of zbigniew has no balance left, number 1234 5678",
    "how do i redeem this gift card",
    "the gift card code fails",
]
JOBS = [
    "do you hire students for the summer",
    "i want to apply for a job at your store",
    "are there open jobs in your team",
]
SALE = [
    "we are a retailer and ask for wholesale prices",
    "can i get a wholesale account for my shop",
    "wholesale price list please",
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 84 days: jobs and wholesale all the time, gift cards in the newest days only, and orders that are WISMO."""
    messages: list[str] = []
    rows = []
    for day in range(84):
        time = LAST - timedelta(days=83 - day)
        of_day = [JOBS[day % 3] + " " * (day // 3), SALE[day % 3] + " " * (day // 3)] * (
            day % 3 == 0
        )
        of_day += [GIFT[day % 3] + " " * day] * (day >= 60)
        rows += [("OTHER", 0.9 if day % 2 else 0.5, "ok", "chat", time)] * len(of_day)
        rows += [("WISMO", 0.9, "ok", "chat", time)] * 3
        messages += [*of_day, *["where is my order, please"] * 3]
    folder = tmp_path_factory.mktemp("topics")
    hashes = [str(hash_of) for hash_of in map(messages.index, messages)]
    run, manifest = write_run(
        folder, rows=rows, message=messages, message_hash=hashes, n_tokens=[9] * len(rows)
    )
    describe(run, manifest, len(rows), keep_text=True)
    return folder


def command(out: Path, *arguments: str) -> str:
    """Run a command of the program, and return what it prints."""
    result = CliRunner().invoke(app, [*arguments, "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def tables(out: Path) -> dict[str, pl.DataFrame]:
    """The topics of the run."""
    store = LocalRuns(out)
    return find_topics(store, store.find())


def test_planted_groups_are_topics(out, tables):
    """Each topic is of one group; nothing that is sure of another intent is in one; the same seed gives the same tables."""
    store = LocalRuns(out)
    messages = pl.read_parquet(
        out / "predictions" / "run_id=r1" / "part-00000.parquet",
        columns=["row_number", "message", "intent"],
    )
    joined = tables["topic_tickets"].join(messages, on="row_number")
    assert set(joined["intent"]) == {"OTHER"}
    assert len(joined) >= 70
    groups = {text: place for place, texts in enumerate((GIFT, JOBS, SALE)) for text in texts}
    by_topic = joined.with_columns(group=pl.col("message").str.strip_chars().replace_strict(groups))
    assert (by_topic.group_by("topic").agg(pl.col("group").n_unique())["group"] == 1).all()
    assert set(by_topic["group"]) == {0, 1, 2}
    again = find_topics(store, store.find())
    assert all(again[name].equals(table) for name, table in tables.items())


def test_a_new_topic_has_its_rise_and_its_words(tables):
    """Gift cards came up in the newest 28 days by more than chance; jobs did not. No name and no number is a phrase."""
    topics = tables["topics"]
    gift = topics.filter(pl.col("phrases").str.contains("gift"))
    assert (gift["score"] > gift["bound"]).any()
    assert (gift["usual_tickets"] == 0).all()
    jobs = topics.filter(pl.col("phrases").str.contains("job|hire|students"))
    assert len(jobs)
    assert (jobs["score"] < jobs["bound"]).all()
    assert not re.search(r"zbig|\d", " ".join(topics["phrases"]))
    assert topics["tickets"].sum() == len(tables["topic_tickets"])
    assert topics["tickets"].is_sorted(descending=True)


def test_from_a_topic_to_a_label(out, tmp_path):
    """`topics`, its queries, the page, a draft that is TOML, and a sheet of one topic."""
    printed = command(out, "topics")
    assert "gift" in printed
    rows = pl.read_json(command(out, "query", "topics", "--json").encode())
    number = rows.filter(pl.col("phrases").str.contains("gift"))["topic"][0]
    tickets = pl.read_json(
        command(out, "query", "topic_tickets", "--set", f"topic={number}", "--json").encode()
    )
    assert set(tickets["topic"]) == {number}
    assert rows.filter(topic=number)["ticket_1"][0] == tickets["ticket_id"][0]
    page = (out / "summaries" / "run_id=r1" / "report.html").read_text(encoding="utf-8")
    assert "What is inside OTHER" in page
    assert re.search(
        rf'<td class="text id">{tickets["ticket_id"][0]}</td><td class="note">[^<]*gift card', page
    )
    draft = tomllib.loads(command(out, "topics", "--draft", str(number)))
    assert draft["extends"] == "nine_intents"
    (name,) = draft["intents"]
    assert name.startswith("GIFT")
    assert all("gift card" in text for text in draft["intents"][name]["examples"])
    sheet = tmp_path / "topic.csv"
    command(out, "review", "export", str(sheet), "--topic", str(number))
    chosen = pl.read_csv(sheet)
    assert set(chosen["reason"]) == {f"topic {number}"}
    assert chosen["message"].str.contains("gift card").all()
    assert chosen["message"].is_unique().all()
    chosen.with_columns(label=pl.lit("OTHER")).write_csv(sheet)
    assert "have no label" not in command(
        out, "review", "import", str(sheet), "--into", str(tmp_path / "reviewed")
    )


@pytest.mark.slow
def test_a_topic_over_several_runs_is_one_sheet(tmp_path):
    """A daily run finds its topics with the tickets of the run before, and a sheet of both is imported."""
    texts = [text + " please" * (i % 4) for i in range(16) for text in GIFT]
    for number in (0, 1):
        rows = [
            ("OTHER", 0.9, "ok", "chat", LAST + timedelta(days=number, minutes=i))
            for i in range(len(texts))
        ]
        run, manifest = write_run(
            tmp_path, f"r{number}", rows, first_id=100 * number, n_tokens=[9] * len(rows),
            message=[f"{text} {'thanks ' * number}" for text in texts],
            message_hash=[f"{number} {text}" for text in texts],
        )  # fmt: skip
        summarise(run, describe(run, manifest, len(rows), keep_text=True))
    command(tmp_path, "topics")
    sheet = tmp_path / "topic.csv"
    command(tmp_path, "review", "export", str(sheet), "--topic", "1")
    chosen = pl.read_csv(sheet)
    assert set(chosen["run_id"]) == {"r0", "r1"}
    chosen.with_columns(label=pl.lit("BILLING_DISPUTE")).write_csv(sheet)
    command(tmp_path, "review", "import", str(sheet), "--into", str(tmp_path / "reviewed"))
    labelled = pl.read_parquet(tmp_path / "reviewed" / "labelled.parquet")
    assert len(labelled) == len(chosen)
    assert set(labelled["run_id"]) == {"r0", "r1"}


def test_any_intent_can_be_grouped_on_request(out):
    """The orders, sure as they are, are one topic."""
    command(out, "topics", "--intent", "wismo")
    tickets = pl.read_json(command(out, "query", "topic_tickets", "--json").encode())
    assert len(tickets) in (0, 252)  # three messages are too few to group
    command(out, "topics", "--intent", "any")
    assert "where is my order" not in command(out, "query", "topics")
    store = LocalRuns(out)
    with pytest.raises(UsageError, match="--intent: expected one of wismo"):
        find_topics(store, store.find(), TopicOptions(intents=("NOPE",)))


def test_a_run_finds_its_topics_when_asked(tmp_path, stub_settings):
    """By torch, where a model has no int8 network; it needs the messages, and takes no part in what may be resumed."""
    source = write_tickets(tmp_path / "tickets.csv", 60)
    result = run_job(stub_settings(source, tmp_path / "out", topics=True, keep_text=True))
    assert {"topics", "topic_tickets"} <= set(result.summary.tables)
    assert (result.folder.summaries / "topics.csv").exists()
    with pytest.raises(UsageError, match="--topics: give --keep-text too"):
        load_settings(source=str(source), topics=True)
    plain = run_job(stub_settings(source, tmp_path / "plain"))
    with pytest.raises(UsageError, match="expected a run with --keep-text"):
        find_topics(plain.store, plain.manifest)
    result = CliRunner().invoke(app, ["topics", "--draft", "1", "--out", str(tmp_path / "plain")])
    assert "expected a run with topics, found none" in str(result.exception)


def test_few_messages_are_no_topic_and_a_lone_one_is_in_none():
    """Nine points: no topic. Three bundles and one point far off: three topics, and the point in none."""
    random = np.random.default_rng(0)
    middles = np.eye(32, dtype=np.float32)[:3] * 10
    points = np.concatenate([middle + random.normal(0, 0.3, (40, 32)) for middle in middles])
    points = np.concatenate([points, -middles.sum(axis=0, keepdims=True)]).astype(np.float32)
    assert set(cluster_messages(points[:9]).topics) == {NO_TOPIC}
    topics = cluster_messages(points).topics
    of_bundles = [set(topics[start : start + 40]) - {NO_TOPIC} for start in (0, 40, 80)]
    assert not set.intersection(*of_bundles)
    assert topics[-1] not in set.union(*of_bundles)
