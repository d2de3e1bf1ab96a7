"""Labelled sources → train, validation and test: the road of the case study, and a report of what each step kept.

Rows that bring their split (a processed folder, the corpus) keep it, so that a published test set stays what it is:
they are mapped, normalised and deduplicated like all others, but neither filtered by length nor capped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from sklearn.model_selection import train_test_split

from ecomintent_batch.errors import SourceError, UsageError
from ecomintent_batch.inference.batches import tokenise
from ecomintent_batch.inference.engines import ModelFolder, open_model
from ecomintent_batch.storage.atomic import (
    check_new_folder,
    sha256_of,
    whole_folder,
    write_json,
    write_parquet,
)
from ecomintent_batch.text.message import clean_message, has_words
from ecomintent_batch.training.corpus_files import CORPUS
from ecomintent_batch.training.labelled_sources import (
    BITEXT_ON_THE_HUB,
    SPLITS,
    Labelled,
    read_file,
    read_hub,
    read_processed,
    read_public,
    read_realistic,
)
from ecomintent_batch.training.leakage import audit_splits, fold_text
from ecomintent_batch.training.real_messages import read_real
from ecomintent_batch.training.taxonomy import BITEXT_MAP, Taxonomy, read_taxonomy

_LEAST_ROWS = 10  # of an intent, so that each split gets one
_MOST_REPEATS = 100
_SHOWN_LABELS = 50
_SHORTEST_MAX_LENGTH = 32


@dataclass(frozen=True)
class DatasetOptions:
    """Every option of `ecomintent-batch dataset`; see its help."""

    files: tuple[str, ...] = ()
    from_hub: tuple[str, ...] = ()
    processed: Path | None = None
    public: Path | None = None
    real: Path | None = None
    extra: tuple[str, ...] = ()
    text_column: str | None = None
    intent_column: str | None = None
    map: Path | None = None
    corpus: bool | None = None
    weights: tuple[str, ...] = ()
    length_in: Literal["words", "tokens"] = "words"
    min_length: int = 3
    max_length: int = 200
    cap: float = 4.0
    near: float = 0.8
    model: str | None = None
    seed: int = 0


def build_dataset(options: DatasetOptions, out: Path) -> dict[str, Any]:
    """Build the three splits, write them with `report.json` into `out`, all or nothing, and return the report.

    Raises:
        UsageError: options that make no sense, or no source at all.
        SourceError: a source or the map cannot be read, or too few rows are left of an intent.
        OutputError: `out` is there already and not empty.
    """
    weights = _checked(options, out)
    taxonomy = read_taxonomy(options.map or BITEXT_MAP)
    model = open_model(options.model)
    sources = _read_sources(options)
    road = _Road(sum(labelled.rejected + len(labelled.rows) for labelled in sources))
    rows = pl.concat([labelled.rows for labelled in sources])
    read_of = dict(rows["source"].value_counts(sort=True).iter_rows())
    unknown = sorted(weights.keys() - read_of.keys())
    if unknown:
        raise UsageError(
            f"--weight {unknown[0]}: expected a source, found none of that name among {', '.join(sorted(read_of))}"
        )

    rows = road.step("readable", rows.drop_nulls(["text", "label"]))
    rows, unmapped = _map_labels(rows, taxonomy)
    rows = road.step("mapped", rows)
    rows = road.step("normalised", _normalise(rows))
    rows, conflicts = _deduplicate(rows)
    rows = road.step("deduplicated", rows)
    rows = road.step("of fitting length", _filter_by_length(rows, model, options))
    rows = road.step("capped", _cap_intents(rows, options.cap, options.seed))
    splits = _split(rows, options.seed)
    splits["train"] = _weigh(splits["train"], weights, options.seed)
    unlabelled = _gather_unlabelled(sources, rows)
    if splits["train"].is_empty():
        raise UsageError("--weight: expected rows to train on, found none left")
    # The copies that a weight over 1 makes come last, so that places of the audit are places of the file.
    unique = {
        name: frame.unique("text", keep="first", maintain_order=True)
        for name, frame in splits.items()
    }
    report = {
        "seed": options.seed,
        "options": {
            name: value for name, value in asdict(options).items() if value not in (None, ())
        },
        "map": {
            "file": str(options.map or BITEXT_MAP),
            "sha256": sha256_of(options.map or BITEXT_MAP),
        },
        "steps": road.steps,
        "sources": {
            name: {"read": count, "kept": rows.filter(source=name).height}
            for name, count in read_of.items()
        },
        "unmapped_labels": dict(list(unmapped.items())[:_SHOWN_LABELS]),
        "duplicates_with_another_intent": conflicts,
        "splits": {name: frame.height for name, frame in splits.items()},
        "unlabelled": unlabelled.height,
        "intents": {
            intent: {name: frame.filter(intent=intent).height for name, frame in splits.items()}
            for intent in taxonomy.intents
        },
        "not_split": _list_not_split(rows),
        "tokens": _measure_tokens(model, pl.concat(unique.values())["text"].to_list()),
        "leakage": {"near_from": options.near, "between": audit_splits(unique, options.near)},
    }
    with whole_folder(out) as folder:
        for name, frame in (
            splits | ({"unlabelled": unlabelled} if unlabelled.height else {})
        ).items():
            write_parquet(frame.to_arrow(), folder / f"{name}.parquet")
        write_json(report, folder / "report.json")
    return report


class _Road:
    """Counts the rows that each step keeps."""

    def __init__(self, read: int) -> None:
        self.steps: list[dict[str, Any]] = [{"step": "read", "rows": read, "dropped": 0}]

    def step(self, name: str, rows: pl.DataFrame) -> pl.DataFrame:
        if rows.is_empty():
            raise SourceError(
                f"dataset: expected rows, found none that is {name} of {self.steps[-1]['rows']:,}; see --help"
            )
        self.steps.append(
            {"step": name, "rows": rows.height, "dropped": self.steps[-1]["rows"] - rows.height}
        )
        return rows


def _checked(options: DatasetOptions, out: Path) -> dict[str, float]:
    """Refuse what cannot work before anything is read, and return the weights by source."""
    if not (
        options.files
        or options.from_hub
        or options.processed
        or options.public
        or options.real
        or options.extra
        or options.corpus
    ):
        raise UsageError(
            "dataset: expected FILES, --from-hub, --processed, --public, --real, --extra or --corpus, found none of them"
        )
    if (options.text_column or options.intent_column) and not options.extra:
        raise UsageError(
            "--text-column and --intent-column: expected an --extra file whose columns they name, found none"
        )
    if not 0 <= options.min_length <= options.max_length:
        raise UsageError(
            f"--min-length: expected 0 to --max-length ({options.max_length}), found {options.min_length}"
        )
    if not options.cap >= 1:
        raise UsageError(f"--cap: expected 1 or more, found {options.cap:g}")
    if not 0 < options.near <= 1:
        raise UsageError(
            f"--near: expected a similarity over 0 and up to 1, found {options.near:g}"
        )
    if not 0 <= options.seed < 2**32:
        raise UsageError(f"--seed: expected 0 to {2**32 - 1}, found {options.seed}")
    check_new_folder(out)
    weights = {}
    for given in options.weights:
        name, _, number = given.rpartition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            weights[name] = -1.0
        if not name or not 0 <= weights[name] <= _MOST_REPEATS:
            raise UsageError(
                f"--weight {given}: expected SOURCE=N with N from 0 to {_MOST_REPEATS}"
            )
    return weights


def _read_sources(options: DatasetOptions) -> list[Labelled]:
    """Read all sources in the order in which they keep a text that several have.

    Splits to judge by come first, then what customers typed, then the other sources with splits of their own.
    """
    *held_out, train = reversed(read_processed(options.processed)) if options.processed else [None]
    found = [part for part in held_out if part is not None]
    found += [read_real(options.real)] if options.real else []
    found += [train] if train is not None else []
    # A taxonomy of one's own seldom has the nine intents of the corpus.
    if options.corpus or (options.corpus is None and options.map is None and CORPUS.is_dir()):
        found += reversed(read_realistic())
    found += [read_real(options.real)] if options.real else []
    found += read_public(options.public) if options.public else []
    found += [read_file(file) for file in options.files]
    hub = [
        one
        for name in options.from_hub
        for one in (BITEXT_ON_THE_HUB if name == "bitext" else (name,))
    ]
    found += [read_hub(dataset) for dataset in hub]
    found += [
        read_file(file, text_column=options.text_column, intent_column=options.intent_column)
        for file in options.extra
    ]
    return found


def _map_labels(rows: pl.DataFrame, taxonomy: Taxonomy) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the rows with their intents, and how many each unknown label cost, the dearest first."""
    intents = {label: taxonomy.find(label) for label in rows["label"].unique()}
    second = {
        label: taxonomy.find(label) for label in rows["second_label"].unique() if label is not None
    }
    mapped = rows.with_columns(
        intent=pl.col("label").replace_strict(intents, return_dtype=pl.String),
        second_intent=pl.col("second_label").replace_strict(
            second, default=None, return_dtype=pl.String
        ),
    )
    unmapped = mapped.filter(pl.col("intent").is_null())["label"].value_counts()
    return (
        mapped.drop_nulls("intent").select(
            "text", "intent", "second_intent", "source", "first_share", "split"
        ),
        dict(unmapped.sort(["count", "label"], descending=[True, False]).iter_rows()),
    )


def _normalise(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the messages that the job would read, without those that have no words."""
    messages = [clean_message([text]) for text in rows["text"]]
    return rows.with_columns(text=pl.Series(messages, dtype=pl.String)).filter(
        [has_words(message) for message in messages]
    )


def _deduplicate(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return the first row of each folded text, and how many rows that fell had another intent than the one that stays."""
    folded = rows.with_columns(
        folded=pl.Series([fold_text(text) for text in rows["text"]], dtype=pl.String)
    )
    conflicts = folded.filter(pl.col("intent") != pl.col("intent").first().over("folded")).height
    return folded.unique("folded", keep="first", maintain_order=True).drop("folded"), conflicts


def _filter_by_length(
    rows: pl.DataFrame, model: ModelFolder, options: DatasetOptions
) -> pl.DataFrame:
    texts = rows["text"].to_list()
    lengths = (
        [len(text.split()) for text in texts]
        if options.length_in == "words"
        else _count_tokens(model, texts).tolist()
    )
    fits = pl.Series(lengths, dtype=pl.Int64).is_between(options.min_length, options.max_length)
    return rows.filter(pl.col("split").is_not_null() | fits)


def _cap_intents(rows: pl.DataFrame, ratio: float, seed: int) -> pl.DataFrame:
    """Draw rows of the large intents, so that none has more than `ratio` times the rows of the smallest that is split."""
    sizes = dict(rows["intent"].value_counts().iter_rows())
    most = int(ratio * max(_LEAST_ROWS, min(sizes.values())))  # what cannot be split sets no limit
    rng = np.random.default_rng(seed)
    kept = np.ones(rows.height, bool)
    intents, free = rows["intent"].to_numpy(), rows["split"].is_null().to_numpy()
    for intent in sorted(sizes):
        mine = np.flatnonzero((intents == intent) & free)
        too_many = min(len(mine), max(0, sizes[intent] - most))
        kept[rng.choice(mine, too_many, replace=False)] = False
    return rows.filter(kept)


def _split(rows: pl.DataFrame, seed: int) -> dict[str, pl.DataFrame]:
    """Split the rows that have no split yet 80/10/10 within each intent, and add those that have one.

    An intent with fewer than ten such rows is for training only.
    """
    size = pl.len().over("intent")
    is_free = pl.col("split").is_null()
    free = rows.filter(is_free).filter(size >= _LEAST_ROWS)
    small = rows.filter(is_free).filter(size < _LEAST_ROWS)
    parts = {"train": small, "validation": free.clear(), "test": free.clear()}
    if small.height and not free.height and rows.filter(~is_free).is_empty():
        counts = small["intent"].value_counts().sort("count", "intent")
        raise SourceError(
            f"dataset: expected at least {_LEAST_ROWS} rows of an intent to split, "
            f"found {counts['count'][-1]} of {counts['intent'][-1]}; train takes the file as it is"
        )
    if free.height:
        places, intents = np.arange(free.height), free["intent"].to_numpy()
        train, rest = train_test_split(places, test_size=0.2, stratify=intents, random_state=seed)
        validation, test = train_test_split(
            rest, test_size=0.5, stratify=intents[rest], random_state=seed
        )
        parts = {
            name: free[np.sort(part)]
            for name, part in zip(SPLITS, (train, validation, test), strict=True)
        }
        parts["train"] = pl.concat([parts["train"], small])
    return {
        name: pl.concat([rows.filter(split=name), parts[name]]).drop("split") for name in SPLITS
    }


def _list_not_split(rows: pl.DataFrame) -> dict[str, int]:
    """Return the intents that are for training only, with their rows."""
    counts = rows.filter(pl.col("split").is_null())["intent"].value_counts().sort("intent")
    return dict(counts.filter(pl.col("count") < _LEAST_ROWS).iter_rows())


def _weigh(train: pl.DataFrame, weights: dict[str, float], seed: int) -> pl.DataFrame:
    """Repeat the rows of each source as often as its weight says, the fraction of it as a share drawn at random."""
    weight = np.array([weights.get(source, 1.0) for source in train["source"]])
    rng = np.random.default_rng(seed)
    copies = []
    for nth in range(int(np.ceil(weight.max(initial=1.0)))):
        share = np.clip(weight - nth, 0, 1)
        drawn = share == 1
        for source in sorted(weights):
            mine = np.flatnonzero(
                (train["source"].to_numpy() == source) & (share > 0) & (share < 1)
            )
            if len(mine):
                drawn[rng.choice(mine, round(share[mine[0]] * len(mine)), replace=False)] = True
        copies.append(train.filter(drawn))
    return pl.concat(copies)


def _gather_unlabelled(sources: list[Labelled], rows: pl.DataFrame) -> pl.DataFrame:
    """Return the messages without a label, each once, and none that is among the labelled rows of any split."""
    known = {fold_text(text) for text in rows["text"]}
    found = {
        fold_text(message): message
        for one in sources
        for message in (clean_message([text]) for text in one.unlabelled)
    }
    return pl.DataFrame(
        {
            "text": [
                message for key, message in found.items() if has_words(message) and key not in known
            ]
        }
    )


def _count_tokens(model: ModelFolder, texts: list[str]) -> Any:
    return tokenise(model.tokenizer, texts, model.max_length).n_tokens


def _measure_tokens(model: ModelFolder, texts: list[str]) -> dict[str, Any]:
    """Return the spread of lengths in tokens, and the power of two that holds 99 in 100 messages whole."""
    lengths = _count_tokens(model, texts)
    p50, p95, p99 = (int(np.ceil(value)) for value in np.percentile(lengths, [50, 95, 99]))
    suggested = _SHORTEST_MAX_LENGTH
    while suggested < p99:
        suggested *= 2
    suggested = min(suggested, model.max_length)
    return {
        "tokenizer": model.name,
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "max": int(lengths.max()),
        "suggested_max_length": suggested,
        "cut_at_suggested": int((lengths > suggested).sum()),
    }
