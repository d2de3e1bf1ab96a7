"""Settings: flags win over the environment, the environment over the file, and a wrong value is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ecomintent_batch.errors import UsageError
from ecomintent_batch.settings import RunSettings, load_settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A TOML file, its names spelled as flags are and as parameters are."""
    path = tmp_path / "run.toml"
    path.write_text(
        'threshold = 0.5\nmax-reject-ratio = 0.2\nshard_rows = 100\nby = ["channel", "brand"]\nsource = "from-file.csv"\n'
    )
    return path


def test_flags_win_over_environment_over_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each option comes from the strongest of flag, environment and file, and else from its default."""
    monkeypatch.setenv("ECOMINTENT_THRESHOLD", "0.6")
    monkeypatch.setenv("ecomintent_shard_rows", "200")
    settings = load_settings(config, source="from-flag.csv", threshold=0.8, by=(), engine=None)
    assert settings.source == "from-flag.csv"
    assert settings.threshold == 0.8
    assert settings.shard_rows == 200
    assert settings.max_reject_ratio == 0.2
    assert settings.by == ("channel", "brand")
    assert settings.engine == "auto"


def test_columns_in_the_environment_need_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """`channel, brand` is two columns; a flag keeps a comma in a name."""
    monkeypatch.setenv("ECOMINTENT_BY", "channel, brand")
    assert load_settings(source="t.csv").by == ("channel", "brand")
    assert load_settings(source="t.csv", by=("name, first",)).by == ("name, first",)


def test_kept_columns_are_named_once() -> None:
    """A column of --keep and --by is carried once, in the order of the flags."""
    assert RunSettings(source="t.csv", keep=("a", "b"), by=("b", "c", "a")).kept_columns() == [
        "a",
        "b",
        "c",
    ]


@pytest.mark.parametrize(("given", "expected"), [("tab", "\t"), ("\\t", "\t"), (";", ";")])
def test_a_tab_can_be_written_out(given: str, expected: str) -> None:
    """Shells make it hard to type a tab."""
    assert load_settings(source="t.csv", delimiter=given).delimiter == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"source": ""}, "--source: string should have at least 1 character"),
        ({"threshold": 1.01}, "--threshold: input should be less than or equal to 1"),
        ({"threshold": "high"}, "--threshold: input should be a valid number"),
        ({"shard_rows": 0}, "--shard-rows: input should be greater than or equal to 1"),
        ({"max_reject_ratio": -0.1}, "--max-reject-ratio: input should be greater"),
        ({"device": "tpu"}, "--device: string should match pattern"),
        ({"delimiter": "||"}, "--delimiter: should be one character"),
        ({"delimiter": '"'}, "--delimiter: should be one character that is no quote"),
        ({"by": ("a", 1)}, "--by: input should be a valid string"),
        ({"table": "t", "query": "SELECT 1"}, "--table and --query: give one of the two"),
        ({"batch_size": 64}, "--batch-size: extra inputs are not permitted"),
    ],
)
def test_wrong_values_are_usage_errors(flags: dict[str, Any], message: str) -> None:
    """The flag is named, what it takes is said, and the exit code is 2."""
    with pytest.raises(UsageError) as caught:
        load_settings(**{"source": "t.csv", **flags})
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a readable TOML file, found: "),
        (b"threshold = ", "expected a readable TOML file, found: "),
        (b"\xff\xfe", "expected a readable TOML file, found: "),
        (b"treshold = 0.5", "--treshold: extra inputs are not permitted"),
        (b"threshold = 5", "--threshold: input should be less than or equal to 1"),
    ],
)
def test_a_wrong_file_is_a_usage_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A file that is missing, is not TOML, or names an unknown option."""
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_settings(path, source="t.csv")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_value_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the flag of the variable."""
    monkeypatch.setenv("ECOMINTENT_SHARD_ROWS", "many")
    with pytest.raises(UsageError, match="--shard-rows: input should be a valid integer"):
        load_settings(source="t.csv")
