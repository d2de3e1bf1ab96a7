"""The dataset command: what each step keeps, the same result for the same seed, leaks found, other taxonomies, bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.tickets import ROOT

from ecomintent_batch.cli import app as cli
from ecomintent_batch.errors import SourceError
from ecomintent_batch.training.build import DatasetOptions, build_dataset
from ecomintent_batch.training.leakage import audit_splits
from ecomintent_batch.training.taxonomy import BITEXT_MAP, read_taxonomy

SPLITS = ("train", "validation", "test")
# Bitext's files are not in the repository; CI lays them beside it.
SHARED = Path(os.environ.get("ECOMINTENT_TEST_DATA", ROOT.parent / "shared" / "data")) / "bitext"


def number(i: int) -> str:
    """Return a number in letters, so that no two messages are near duplicates by their digits alone."""
    return "".join("abcdefghij"[int(digit)] * 3 for digit in str(i))


def messages(what: str, count: int) -> list[str]:
    """Return so many different messages of four words."""
    return [f"{number(i)} {what} {number(i * 7 + 1)} please" for i in range(count)]


def write_bitext(path: Path) -> Path:
    """Write 187 rows in Bitext's columns: 20 to cancel, 150 to track, 17 that fall by the way."""
    rows = [(text, "cancel_order") for text in messages("cancel", 20)]
    rows += [(text, "track_order") for text in messages("where", 150)]
    rows += [
        (text.upper().replace(" ", "  "), "track_order") for text in messages("where", 6)
    ]  # equal when folded
    rows += [(messages("where", 1)[0], "cancel_order")]  # equal, under another intent
    rows += [("too short", "track_order")] * 2 + [
        ("word " * 201, "track_order")
    ]  # one of the two is a duplicate
    rows += [("?! ... ", "track_order")] * 2  # no words
    rows += [("I love it all", "make_friends")] * 3 + [
        ("where is it now", None),
        (None, "track_order"),
    ]
    pl.DataFrame(rows, schema=["utterance", "intent"], orient="row").write_csv(path)
    return path


@pytest.fixture
def build(
    tmp_path: Path, tiny_model: Path
) -> Callable[..., tuple[dict[str, Any], dict[str, pl.DataFrame]]]:
    """Build without the corpus into `tmp_path/<out>`, and return the report and the splits as written."""

    def call(out: str = "out", **options: Any) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
        build_dataset(
            DatasetOptions(**{"corpus": False, "model": str(tiny_model), **options}), tmp_path / out
        )
        report = json.loads((tmp_path / out / "report.json").read_text())
        return report, {
            name: pl.read_parquet(tmp_path / out / f"{name}.parquet") for name in SPLITS
        }

    return call


def test_each_step_keeps_what_a_person_counts(build, tmp_path):
    """Every kind of row falls at its own step, and the report adds up."""
    report, splits = build(files=(str(write_bitext(tmp_path / "retail.csv")),))
    assert [(step["step"], step["rows"], step["dropped"]) for step in report["steps"]] == [
        ("read", 187, 0),
        ("readable", 185, 2),
        ("mapped", 182, 3),
        ("normalised", 180, 2),
        ("deduplicated", 172, 8),
        ("of fitting length", 170, 2),
        ("capped", 100, 70),  # 20 to cancel, 4 x 20 to track
    ]
    assert report["unmapped_labels"] == {"make_friends": 3}
    assert report["duplicates_with_another_intent"] == 1
    assert report["intents"]["CANCEL_ORDER"] == {"train": 16, "validation": 2, "test": 2}
    assert report["intents"]["WISMO"] == {"train": 64, "validation": 8, "test": 8}
    assert {name: frame.height for name, frame in splits.items()} == report["splits"]
    assert report["splits"] == {"train": 80, "validation": 10, "test": 10}
    assert splits["test"].columns == ["text", "intent", "second_intent", "source", "first_share"]
    assert set(splits["test"]["source"]) == {"retail"}
    assert pl.concat(splits.values())["text"].n_unique() == 100


def test_a_seed_makes_the_same_files_and_another_one_others(build, tmp_path):
    """What is drawn at random hangs on the seed alone."""
    files = (str(write_bitext(tmp_path / "retail.csv")),)
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        build(out, files=files, seed=seed, weights=("retail=0.5",))
    a, b, c = (
        [(tmp_path / out / f"{name}.parquet").read_bytes() for name in SPLITS] for out in "abc"
    )
    assert a == b
    assert all(one != other for one, other in zip(a, c, strict=True))


def test_a_processed_split_stays_as_it_is_and_wins_over_its_copies(build, tmp_path):
    """Its rows are neither filtered nor capped nor moved; a copy of a test row leaves the train rows."""
    folder = tmp_path / "processed"
    folder.mkdir()
    planted = "where on earth is it"
    for name, texts in (
        ("train", [*messages("where", 40), planted]),
        ("validation", ["hm"]),
        ("test", [planted, "so"]),
    ):
        pl.DataFrame({"text": texts, "intent": ["WISMO"] * len(texts)}).write_parquet(
            folder / f"{name}.parquet"
        )
    extra = tmp_path / "own.jsonl"
    lines = [{"body": text, "topic": "cancel_order"} for text in messages("stop", 10)] + [
        {"body": planted, "topic": "WISMO"}
    ]
    extra.write_text("\n".join(map(json.dumps, lines)))
    report, splits = build(
        processed=folder, extra=(str(extra),), text_column="body", intent_column="topic", cap=1.0
    )
    assert report["intents"]["WISMO"] == {"train": 40, "validation": 1, "test": 2}
    assert report["intents"]["CANCEL_ORDER"] == {"train": 8, "validation": 1, "test": 1}
    assert splits["test"].filter(source="processed")["text"].to_list() == [planted, "so"]
    assert report["sources"]["own"] == {"read": 11, "kept": 10}


@pytest.mark.parametrize(("weight", "rows"), [("3", 240), ("0.25", 20), ("1.5", 120)])
def test_a_weight_repeats_train_rows_only(build, tmp_path, weight, rows):
    """80 train rows become that many; the other splits stay."""
    report, splits = build(
        files=(str(write_bitext(tmp_path / "retail.csv")),), weights=(f"retail={weight}",)
    )
    assert report["splits"] == {"train": rows, "validation": 10, "test": 10}
    assert splits["train"]["text"].n_unique() == min(rows, 80)


def test_planted_leaks_are_found_and_no_others():
    """One exact copy, one with a letter more, one like nothing else."""
    train = [*messages("where", 30), "My parcel from last Tuesday has not arrived yet", "hello"]
    test = [
        "my  parcel from last tuesday HAS not arrived yet!",
        train[4].upper(),
        "Do you sell gift cards in the shop",
        "hello you",
    ]
    frames = {
        name: pl.DataFrame({"text": texts, "intent": [intent] * len(texts)})
        for name, texts, intent in (("train", train, "A"), ("test", test, "B"))
    }
    (found,) = audit_splits(frames, 0.8)
    assert (found["exact"], found["near"], found["near_with_another_intent"], found["rows"]) == (
        1,
        1,
        1,
        4,
    )
    # 45 and 44 - 1 shingles of five letters, of which the shorter text has all.
    length = len(train[30])
    similarity = round((length - 4) / (length + 1 - 4), 4)
    assert found["pairs"] == [{"test_row": 0, "train_row": 30, "similarity": similarity}]


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_no_near_duplicate_is_missed(threshold):
    """The prefix filter finds what comparing all with all finds."""
    words = ["order", "parcel", "late", "refund", "where", "my", "the"]
    texts = [" ".join(words[(i * k + k) % 7] for k in range(1, 6 + i % 3)) for i in range(60)]
    frames = {
        name: pl.DataFrame({"text": part, "intent": ["A"] * 30})
        for name, part in (("train", texts[:30]), ("test", texts[30:]))
    }
    sets = [{text[i : i + 5] for i in range(len(text) - 4)} for text in texts]
    near = [
        any(len(one & other) / len(one | other) >= threshold for other in sets[:30])
        and texts[30 + i] not in texts[:30]
        for i, one in enumerate(sets[30:])
    ]
    (found,) = audit_splits(frames, threshold)
    assert found["near"] == sum(near)
    assert found["exact"] == sum(text in texts[:30] for text in texts[30:])


def test_a_taxonomy_of_ones_own_names_the_intents(build, tmp_path):
    """Intents and their order come from the file; what it does not name is dropped."""
    own = tmp_path / "own.toml"
    own.write_text('Stop = ["CANCEL_ORDER"]\nShipping = ["track_order", "delivery_time"]\n')
    report, splits = build(files=(str(write_bitext(tmp_path / "retail.csv")),), map=own)
    assert list(report["intents"]) == ["Stop", "Shipping"]
    assert set(splits["test"]["intent"]) == {"Stop", "Shipping"}
    assert report["unmapped_labels"] == {"make_friends": 3}


def test_tokens_suggest_a_power_of_two(build, tmp_path):
    """Short messages get the least length, long ones no more than the model reads."""
    report, _ = build("short", files=(str(write_bitext(tmp_path / "a.csv")),), extra=())
    assert report["tokens"]["suggested_max_length"] == 32
    longer = pl.DataFrame(
        {"text": [f"order {number(i)} " + "a " * 90 for i in range(20)], "intent": ["WISMO"] * 20}
    )
    longer.write_parquet(tmp_path / "b.parquet")
    report, _ = build("long", files=(str(tmp_path / "b.parquet"),))
    assert report["tokens"]["suggested_max_length"] == 64
    assert report["tokens"]["cut_at_suggested"] == 20
    assert report["tokens"]["p50"] > 92


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """Call `ecomintent-batch dataset` as the shell does; return exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["ecomintent-batch", "dataset", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0), *capsys.readouterr()


@pytest.mark.parametrize(("content", "flags", "code", "expected"), [
    ("text,intent\nsecret words of mine,track_order\n", [], 1, "at least 10 rows of an intent to split, found 1 of WISMO"),
    ("text,intent\nsecret words of mine,nonsense\n", [], 1, "found none that is mapped of 1"),
    ("message,intent\nsecret,track_order\n", [], 1, "or text or sentence with the text, found"),
    ("text,topic\nsecret,track_order\n", [], 1, "expected a column intent or label with the intent"),
    ("", [], 1, "found an empty file"),
    ("text,intent\nsecret,track_order\n", ["--map", "none.toml"], 1, "none.toml: expected a TOML file"),
    ("text,intent\nsecret,track_order\n", ["--processed", "nowhere"], 1, "expected a file, folder or glob, found nothing there"),
    ("text,intent\nsecret,track_order\n", ["--weight", "retail"], 2, "expected SOURCE=N"),
    ("text,intent\nsecret,track_order\n", ["--weight", "other=2"], 2, "found none of that name among tickets"),
    ("text,intent\nsecret,track_order\n", ["--cap", "0.5"], 2, "--cap: expected 1 or more"),
    ("text,intent\nsecret,track_order\n", ["--near", "nan"], 2, "--near: expected a similarity"),
    ("text,intent\nsecret,track_order\n", ["--min-length", "9", "--max-length", "3"], 2, "--min-length: expected 0 to"),
    ("text,intent\nsecret,track_order\n", ["--text-column", "text"], 2, "expected an --extra file"),
])  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(
    monkeypatch, capsys, tmp_path, content, flags, code, expected
):
    """The exit code, what was expected, no text of a ticket, no folder."""
    file = tmp_path / "tickets.csv"
    file.write_text(content)
    found = call(
        monkeypatch, capsys, str(file), "--no-corpus", "--out", str(tmp_path / "out"), *flags
    )
    assert found[0] == code
    assert expected in found[2]
    assert found[2].count("\n") == 1
    assert "secret" not in found[2]
    assert [path.name for path in tmp_path.iterdir()] == ["tickets.csv"]


@pytest.mark.parametrize(("content", "expected"), [
    ("A = [", "expected a TOML file"),
    ('A = ["x"]', "at least two intents"),
    ('A = ["x"]\nB = ["X"]', "each label under one intent"),
    ('A = ["x"]\nB = "y"', "expected a list of labels for B"),
    ('"A b" = ["x"]\n"a_b" = ["y"]', "differ by a letter or digit"),
])  # fmt: skip
def test_a_bad_map_is_one_line(monkeypatch, capsys, tmp_path, content, expected):
    """Each way to write a map wrongly is told."""
    (tmp_path / "map.toml").write_text(content)
    code, _, err = call(
        monkeypatch,
        capsys,
        "any.csv",
        "--map",
        str(tmp_path / "map.toml"),
        "--out",
        str(tmp_path / "out"),
    )
    assert (code, err.count("\n")) == (1, 1)
    assert expected in err


def test_a_folder_with_something_in_it_is_left_alone(monkeypatch, capsys, tmp_path):
    """An earlier dataset is never overwritten."""
    (tmp_path / "mine.txt").write_text("mine")
    code, _, err = call(monkeypatch, capsys, "any.csv", "--out", str(tmp_path))
    assert code == 1
    assert "choose another --out" in err


def test_a_missing_extra_is_named(monkeypatch, capsys):
    """Without scikit-learn the line says what to install."""
    for name in [name for name in sys.modules if name.startswith("ecomintent_batch.training.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    code, _, err = call(monkeypatch, capsys, "any.csv")
    assert (code, err.count("\n")) == (1, 1)
    assert "sklearn: " in err
    assert "pip install 'ecomintent-batch[train]'" in err


def test_a_hub_out_of_reach_is_one_line(tmp_path):
    """No retry without end, no traceback: download the files and name them."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "0",
    }
    command = [
        sys.executable,
        "-m",
        "ecomintent_batch",
        "dataset",
        "--from-hub",
        "bitext",
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert (
        "bitext/Bitext-retail-ecommerce-llm-chatbot-training-dataset: expected a dataset on the Hugging Face hub"
        in done.stderr
    )
    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_road(monkeypatch, capsys, tmp_path, tiny_model):
    """Steps, splits, lengths and leaks are on the terminal."""
    file = write_bitext(tmp_path / "retail.csv")
    code, out, err = call(
        monkeypatch,
        capsys,
        str(file),
        "--no-corpus",
        "--model",
        str(tiny_model),
        "--out",
        str(tmp_path / "out"),
    )
    assert (code, err) == (0, "")
    for line in (
        r"capped 100 70",
        r"WISMO 64 8 8",
        r"all 80 10 10",
        "Leakage test in train: 0 exact",
    ):
        assert line in " ".join(out.split())
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_the_map_is_that_of_the_case_study():
    """Label by label."""
    known = json.loads((SHARED / "label_map.json").read_text())
    taxonomy = read_taxonomy(BITEXT_MAP)
    assert taxonomy.intents == known["labels"]
    assert {label: taxonomy.find(label) for label in known["source_to_canonical"]} == known[
        "source_to_canonical"
    ]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_the_real_sample_goes_the_whole_road(build):
    """All 27 labels of Bitext's sample are known; template data leaks between random splits, and the audit says so."""
    report, splits = build(files=(str(SHARED / "sample27_test.csv"),), cap=100.0)
    assert report["steps"][0]["rows"] == 810
    assert report["unmapped_labels"] == {}
    assert sum(frame.height for frame in splits.values()) == report["steps"][-1]["rows"]
    assert all(pair["exact"] == 0 for pair in report["leakage"]["between"])
    assert sum(pair["near"] for pair in report["leakage"]["between"]) > 0


def write_public(folder: Path) -> Path:
    """Write Banking77 and CLINC150 in their published shapes: mapped labels, unmapped ones, one intent too often."""
    (folder / "banking77").mkdir(parents=True)
    (folder / "clinc150").mkdir()
    banking = [(text, "card_arrival") for text in messages("card", 300)] + [
        (text, "exchange_rate") for text in messages("rate", 9)
    ]
    pl.DataFrame(banking, schema=["text", "category"], orient="row").write_csv(
        folder / "banking77" / "train.csv"
    )
    clinc = {"train": [["where is the thing I ordered", "order_status"], ["sing me a song", "play_music"]],
             "oos_train": [["how tall is that tower", "oos"]]}  # fmt: skip
    (folder / "clinc150" / "data_full.json").write_text(json.dumps(clinc))
    return folder


def test_public_queries_are_mapped_or_left_for_a_teacher(build, tmp_path):
    """250 of an intent are kept from each set, all for training; the others are written without a label."""
    files = (str(write_bitext(tmp_path / "retail.csv")),)
    report, splits = build(files=files, public=write_public(tmp_path / "public"), cap=1000.0)
    by_source = dict(splits["train"]["source"].value_counts().iter_rows())
    assert (by_source["banking77"], by_source["clinc150"]) == (250, 2)
    assert not {"banking77", "clinc150"} & set(splits["test"]["source"])
    unlabelled = pl.read_parquet(tmp_path / "out" / "unlabelled.parquet")["text"].to_list()
    assert report["unlabelled"] == len(unlabelled) == 50 + 9 + 1
    assert "sing me a song" in unlabelled


def test_public_queries_that_are_not_there_are_told_in_one_line(build, tmp_path):
    """A folder of something else is no folder of the two sets."""
    with pytest.raises(
        SourceError, match=r"expected banking77/train\.csv and clinc150/data_full\.json"
    ):
        build(public=tmp_path)


def test_second_asks_keep_their_intent(build):
    """The corpus' tickets with two asks bring both; all others have one."""
    _, splits = build(corpus=True, cap=1000.0)
    two = splits["train"].filter(pl.col("second_intent").is_not_null())
    assert two.height >= 600
    assert (two["second_intent"] != two["intent"]).all()
    assert set(two["source"]) == {"corpus", "real_style"}
