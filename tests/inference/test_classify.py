"""One shard → one part: statuses, threshold, dedupe, and the columns of the contract."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tickets import NINE

from ecomintent_batch.errors import SourceError
from ecomintent_batch.inference.classify import (
    ClassifyOptions,
    label_shard,
    prepare_shard,
    score_shard,
    write_part,
)
from ecomintent_batch.inference.engines import load_engine, open_model
from ecomintent_batch.runs.describe import count_labelled
from ecomintent_batch.schema import output_names, prediction_schema, probability_column
from ecomintent_batch.storage.atomic import write_parquet

TEXTS = [
    "where is my order",
    None,
    "  \n\t ",
    "!!! ?",
    "refund",
    "where is my order",
    "cancel 😀",
    "refund",
]


@pytest.fixture(scope="module")
def model(tiny_model):
    """The tiny model's labels and tokenizer."""
    return open_model(str(tiny_model))


def write_shard(folder: Path, texts, **kept) -> Path:
    """Write a shard with one text column and the kept columns given."""
    ids = pa.array([f"t{i}" for i in range(len(texts))])
    columns = {"ticket_id": ids, "row_number": pa.array(range(len(texts)), pa.int64()), **kept}
    path = folder / "shard-00000.parquet"
    write_parquet(pa.table({**columns, "_text_0": pa.array(texts, pa.string())}), path)
    return path


def label(shard: Path, model, options=None, logits=None) -> pa.Table:
    """Classify a shard with the stub, or with the logits given."""
    options = options or ClassifyOptions()
    prepared = prepare_shard(shard, model, options)
    if logits is None:
        logits, _ = score_shard(prepared, load_engine(model, engine="stub"), lambda tickets: None)
    return label_shard(prepared, logits, model, "tiny@0123", options)


def logits_of(*probabilities: list[float]) -> np.ndarray:
    """Return the logits of probabilities for the first labels; the other labels share what is left."""
    rows = np.full((len(probabilities), len(NINE)), np.nan)
    for row, given in zip(rows, probabilities, strict=True):
        row[: len(given)] = given
        row[len(given) :] = (1 - sum(given)) / (len(NINE) - len(given))
    return np.log(rows).astype(np.float32)


def test_the_columns_are_those_of_the_contract(model, tmp_path):
    """Names, order and types stand in DESIGN, section 4; dashboards hold on to them."""
    shard = write_shard(
        tmp_path, TEXTS, channel=pa.array(["chat"] * 8), orders=pa.array([3] * 8, pa.int16())
    )
    part = label(shard, model, ClassifyOptions(keep_text=True))
    text = pa.dictionary(pa.int32(), pa.string())
    expected = [
        ("ticket_id", pa.string()), ("row_number", pa.int64()), ("channel", pa.string()), ("orders", pa.int16()),
        ("intent", text), ("top_intent", pa.string()), ("confidence", pa.float32()),
        ("second_intent", pa.string()), ("second_confidence", pa.float32()), ("below_threshold", pa.bool_()),
        ("prob_wismo", pa.float32()), ("prob_return_request", pa.float32()), ("prob_exchange_request", pa.float32()),
        ("prob_cancel_order", pa.float32()), ("prob_damaged_item", pa.float32()), ("prob_billing_dispute", pa.float32()),
        ("prob_product_question", pa.float32()), ("prob_account_issue", pa.float32()), ("prob_other", pa.float32()),
        ("status", text), ("n_tokens", pa.int32()), ("is_truncated", pa.bool_()), ("is_multi_intent", pa.bool_()),
        ("language", pa.string()), ("message_hash", pa.string()), ("message", pa.string()), ("model", pa.string()),
        ("classified_at", pa.timestamp("us", tz="UTC")),
    ]  # fmt: skip
    assert [(field.name, field.type) for field in part.schema] == expected
    assert pq.read_schema(write_part(part, tmp_path, shard)).equals(part.schema)


def test_tickets_without_words_are_empty(model, tmp_path):
    """Null, white space and bare signs: status empty, intent OTHER, no probabilities, no tokens; the others are ok."""
    part = label(write_shard(tmp_path, TEXTS), model).to_pydict()
    assert part["status"] == ["ok", "empty", "empty", "empty", "ok", "ok", "ok", "ok"]
    for name in (
        "top_intent",
        "confidence",
        "second_intent",
        "second_confidence",
        "below_threshold",
        *map(probability_column, NINE),
    ):
        assert [value is None for value in part[name]] == [
            status == "empty" for status in part["status"]
        ], name
    assert part["intent"][1:4] == ["OTHER"] * 3
    assert part["n_tokens"][:5] == [6, 0, 0, 0, 3]
    assert not any(part["is_multi_intent"][1:4])
    assert part["ticket_id"] == [f"t{i}" for i in range(8)]
    assert part["row_number"] == list(range(8))


def test_probabilities_add_up_to_one_and_name_the_first_two(model, tmp_path):
    """Each row of prob_* sums to 1; confidence is their maximum, second_confidence the next."""
    part = label(write_shard(tmp_path, TEXTS[4:]), model)
    probabilities = np.column_stack(
        [part.column(probability_column(name)).to_numpy() for name in NINE]
    )
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    ranked = -np.sort(-probabilities, axis=1)
    np.testing.assert_array_equal(part.column("confidence").to_numpy(), ranked[:, 0])
    np.testing.assert_array_equal(part.column("second_confidence").to_numpy(), ranked[:, 1])
    assert part.column("top_intent").to_pylist() == [NINE[i] for i in probabilities.argmax(axis=1)]


def test_the_threshold_decides_who_is_routed(model, tmp_path):
    """At the threshold a ticket keeps its first choice, under it it is OTHER; the first choice stays readable."""
    shard = write_shard(tmp_path, ["a", "b", "c"])
    part = label(
        shard,
        model,
        ClassifyOptions(threshold=0.7),
        logits_of([0.7001, 0.2], [0.6999, 0.2], [0.1, 0.85]),
    ).to_pydict()
    assert part["intent"] == ["WISMO", "OTHER", "RETURN_REQUEST"]
    assert part["below_threshold"] == [False, True, False]
    assert part["top_intent"] == ["WISMO", "WISMO", "RETURN_REQUEST"]
    assert part["second_intent"] == ["RETURN_REQUEST", "RETURN_REQUEST", "WISMO"]
    assert part["confidence"] == pytest.approx([0.7001, 0.6999, 0.85], abs=1e-4)
    assert part["status"] == ["ok"] * 3


def test_a_strong_runner_up_makes_a_multi_intent(model, tmp_path):
    """Without a trained signal the second probability decides, at 0.30."""
    part = label(
        write_shard(tmp_path, ["a", "b"]), model, None, logits_of([0.6, 0.31], [0.6, 0.29])
    ).to_pydict()
    assert part["is_multi_intent"] == [True, False]


def test_a_trained_multi_intent_signal_wins_and_never_marks_what_was_not_scored(tmp_path):
    """With coefficients in calibration.json they decide; a ticket without probabilities is never multi."""
    from support.tickets import save_tiny_model

    folder = save_tiny_model(tmp_path / "model", "distilbert", NINE)
    (folder / "calibration.json").write_text(
        '{"multi_intent": {"coefficients": [-10, 0, 0, 0], "intercept": 5}}'
    )
    shard = write_shard(tmp_path, ["a", "b", None])
    part = label(
        shard, open_model(str(folder)), None, logits_of([0.45, 0.1], [0.6, 0.39])
    ).to_pydict()
    assert part["is_multi_intent"] == [True, False, False]


def test_what_could_not_be_scored_is_an_error(model, tmp_path):
    """A NaN row of logits is the status error, intent OTHER, and never passes as a label."""
    logits = logits_of([0.9], [0.9])
    logits[1] = np.nan
    part = label(write_shard(tmp_path, ["a", "b"]), model, None, logits).to_pydict()
    assert part["status"] == ["ok", "error"]
    assert part["intent"] == ["WISMO", "OTHER"]
    assert part["top_intent"] == ["WISMO", None]


def test_dedupe_changes_the_work_and_not_the_part(model, tmp_path):
    """Equal messages are scored once or one by one: the same part, but for the time of day."""
    shard = write_shard(tmp_path, TEXTS * 3)
    once, each = (ClassifyOptions(dedupe=dedupe, keep_text=True) for dedupe in (True, False))
    assert len(prepare_shard(shard, model, once).to_score) == 3
    assert len(prepare_shard(shard, model, each).to_score) == 15
    a, b = (
        label(shard, model, options).drop_columns("classified_at").to_pylist()
        for options in (once, each)
    )
    assert a == b


def test_progress_ends_at_the_tickets_however_many_are_equal(model, tmp_path):
    """24 tickets with 3 messages, or none at all to score: `advance` hears of every ticket."""
    for texts in (TEXTS * 3, [None] * 24):
        heard: list[float] = []
        prepared = prepare_shard(write_shard(tmp_path, texts), model, ClassifyOptions())
        _, stats = score_shard(prepared, load_engine(model, engine="stub"), heard.append)
        assert sum(heard) == pytest.approx(24)
        assert stats.rows == 24


def test_the_message_is_kept_on_demand_and_hashed_always(model, tmp_path):
    """keep_text adds what the model read; the hash is of the same words, equal for equal messages."""
    shard = write_shard(tmp_path, ["<p>where   is</p>", "where is", "refund"])
    assert "message" not in label(shard, model).column_names
    part = label(shard, model, ClassifyOptions(keep_text=True)).to_pydict()
    assert part["message"] == ["where is", "where is", "refund"]
    assert part["message_hash"] == [
        hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in part["message"]
    ]


def test_truncation_is_flagged_by_the_limit_asked_for(model, tmp_path):
    """max_length under the model's own cuts; the tokens are counted before the cut."""
    part = label(
        write_shard(tmp_path, ["a " * 20, "a"]), model, ClassifyOptions(max_length=8)
    ).to_pydict()
    assert part["is_truncated"] == [True, False]
    assert part["n_tokens"] == [22, 3]
    longer = label(
        write_shard(tmp_path, ["a " * 80]), model, ClassifyOptions(max_length=500)
    ).to_pydict()
    assert longer["is_truncated"] == [True]  # the model has 64 positions


def test_a_message_that_the_limit_on_characters_cuts_is_flagged(model, tmp_path):
    """One word of 200,001 characters is one token; an image of that size is not part of the message."""
    texts = ["x" * 200_001, f"<p>a</p><img src='data:image/png;base64,{'x' * 300_000}'>"]
    part = label(write_shard(tmp_path, texts), model).to_pydict()
    assert part["is_truncated"] == [True, False]
    assert part["status"] == ["ok", "ok"]


def test_model_and_time_stand_in_every_row(model, tmp_path):
    """Who labelled, and when, in UTC."""
    before = datetime.now(UTC)
    part = label(write_shard(tmp_path, ["a", None]), model).to_pydict()
    assert part["model"] == ["tiny@0123"] * 2
    assert before <= part["classified_at"][0] == part["classified_at"][1] <= datetime.now(UTC)


def test_a_torn_shard_is_an_error_of_one_line(model, tmp_path):
    """A shard that is no Parquet names itself and what to do."""
    (tmp_path / "shard-00000.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(SourceError, match=r"expected a shard of this run.*--restart"):
        prepare_shard(tmp_path / "shard-00000.parquet", model, ClassifyOptions())


def test_statuses_and_models_are_counted_over_parts(model, tmp_path):
    """The manifest's counts come from the parts on disk."""
    part = write_part(
        label(write_shard(tmp_path, TEXTS), model), tmp_path, tmp_path / "shard-00000.parquet"
    )
    assert part.name == "part-00000.parquet"
    assert count_labelled([part, part]) == ({"ok": 10, "empty": 6}, 0, ["tiny@0123"])


@pytest.mark.parametrize(("kept", "expected"), [
    (["channel", "Brand"], ["channel", "Brand"]),
    (["status", "Intent", "MODEL"], ["source_status", "source_Intent", "source_MODEL"]),
    (["message", "run_id", "prob_wismo"], ["source_message", "source_run_id", "source_prob_wismo"]),
    (["status", "source_status"], ["source_status", "source_source_status"]),
    (["source_status", "status"], ["source_status", "source_source_status"]),
    (["ticket_id", "_text_0"], ["source_ticket_id", "source_text_0"]),
])  # fmt: skip
def test_kept_columns_step_aside_for_the_job_s_own(kept, expected):
    """A kept column whose name the job writes becomes source_…, and no two end up alike."""
    assert list(output_names(kept, NINE).values()) == expected


def test_a_kept_status_stands_beside_the_job_s(model, tmp_path):
    """The source's own status travels under its new name."""
    shard = write_shard(tmp_path, ["a", None], source_status=pa.array(["open", "closed"]))
    part = label(shard, model).to_pydict()
    assert (part["source_status"], part["status"]) == (["open", "closed"], ["ok", "empty"])


@pytest.mark.parametrize(
    ("name", "column"),
    [("WISMO", "prob_wismo"), (" Where is it? ", "prob_where_is_it_"), ("größe", "prob_größe")],
)
def test_a_label_names_its_probability_column(name, column):
    """Lower case, and one underscore for what is no letter or digit."""
    assert probability_column(name) == column
    assert column in prediction_schema([], [name, "OTHER"], keep_text=False).names


def test_languages_that_the_model_does_not_know_are_told_apart(tmp_path, tiny_model):
    """They keep their probabilities and get the intent OTHER, unless any language will do; a model may name none."""
    texts = [
        "wo bleibt meine Bestellung, ich warte seit drei Wochen",
        "where is my order, i have been waiting",
        "hm",
    ]
    shard = write_shard(tmp_path, texts)
    found = {}
    for known, any_language in ((("en",), False), (("en",), True), ((), False)):
        model = open_model(str(tiny_model))
        model.__dict__["calibration"] = {"languages": list(known)}
        part = label(shard, model, ClassifyOptions(threshold=0, any_language=any_language))
        found[known, any_language] = part.select(["status", "intent", "confidence"]).to_pylist()
    flagged = found[("en",), False]
    assert [row["status"] for row in flagged] == ["unsupported_language", "ok", "ok"]
    assert flagged[0]["intent"] == "OTHER"
    assert flagged[0]["confidence"] is not None
    assert [row["status"] for row in found[("en",), True]] == ["ok"] * 3
    assert found[(), False] == found[("en",), True]
