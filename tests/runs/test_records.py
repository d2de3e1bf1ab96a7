"""The JSON records of a run: old ones are read, what is wrong with one is named, and none of its values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.tickets import ROOT

from ecomintent_batch.errors import RunStateError
from ecomintent_batch.runs.records import (
    Extraction,
    Manifest,
    Plan,
    Receipt,
    Record,
    parse_record,
    read_record,
)

DATA = ROOT / "tests" / "runs" / "data"  # written by the job of 2026-11-27 from sample_data


@pytest.mark.parametrize(("name", "kind"), [
    ("manifest", Manifest), ("manifest_nothing_new", Manifest), ("plan", Plan), ("receipt", Receipt), ("extraction", Extraction),
])  # fmt: skip
def test_records_of_earlier_versions_are_read_and_written_as_they_were(
    name: str, kind: type[Record], tmp_path: Path
) -> None:
    """Every field is there again, in the same order; fields of later versions are null, zero or empty."""
    file = DATA / f"{name}.json"
    read_record(kind, file).write(tmp_path / "again.json")
    before, again = (json.loads(path.read_text()) for path in (file, tmp_path / "again.json"))
    known, later = split_fields(again, before)
    assert list(known.items()) == list(before.items())
    assert not any(later)


def split_fields(again: Any, before: Any) -> tuple[Any, list[Any]]:
    """Return the fields of a record that an earlier one has, at any depth, and the values of the others."""
    if not isinstance(again, dict) or not isinstance(before, dict):
        return again, []
    later = [value for name, value in again.items() if name not in before]
    known = {}
    for name in (name for name in again if name in before):
        known[name], more = split_fields(again[name], before[name])
        later += more
    return known, later


def test_a_manifest_is_read_by_its_attributes() -> None:
    """Numbers, times and names are those of the file."""
    manifest = read_record(Manifest, DATA / "manifest.json")
    assert manifest.counts.answered == manifest.counts.source_rows == 401
    assert [part.rows for part in manifest.parts] == [150, 150, 100]
    assert manifest.started_at.isoformat() == "2026-11-27T23:58:06+00:00"
    assert manifest.columns.kept_time == "created_at"
    assert (manifest.settings.by, manifest.settings.alert) == (("channel",), ("any share > 90%",))
    assert manifest.performance.stages_s["score"] == 0.001


def test_fields_of_a_later_version_are_kept() -> None:
    """A manifest that a later version wrote is read, and loses nothing."""
    written = json.loads((DATA / "manifest.json").read_text())
    written |= {"later": [1]}
    written["settings"]["later"] = True
    again = parse_record(Manifest, json.dumps(written), "x").to_json()
    assert split_fields(again, written)[0] == written


def without(field: str) -> str:
    """Return the manifest without a field."""
    manifest: dict[str, Any] = json.loads((DATA / "manifest.json").read_text())
    first, _, second = field.partition(".")
    _ = manifest.pop(first) if not second else manifest[first].pop(second)
    return json.dumps(manifest)


@pytest.mark.parametrize(("text", "found"), [
    ("{", "json invalid"),
    ("[]", "model type"),
    (without("parts"), "parts: field required"),
    (without("counts.skipped"), "counts.skipped: field required"),
    (without("run_id").replace("{", '{"run_id": 5, ', 1), "run_id: input should be a valid string"),
    (without("started_at").replace("{", '{"started_at": "my order", ', 1), "started_at: input should be a valid datetime"),
])  # fmt: skip
def test_a_broken_record_is_one_line(text: str, found: str) -> None:
    """The message names the file and the field, and holds no value of it."""
    with pytest.raises(RunStateError) as caught:
        parse_record(Manifest, text, "OUT/runs/x.json")
    assert str(caught.value).startswith(f"OUT/runs/x.json: expected a manifest, found {found}")
    assert "order" not in str(caught.value)


def test_a_record_cannot_be_changed() -> None:
    """What was read is what was written."""
    manifest = read_record(Manifest, DATA / "manifest.json")
    with pytest.raises(ValueError, match="frozen"):
        manifest.run_id = "other"  # type: ignore[misc]
