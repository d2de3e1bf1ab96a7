"""docs/taxonomy.md, command by command, with the sample labels and the sample tickets."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib

import polars as pl
import pytest
from support.tickets import ROOT
from typer.testing import CliRunner

from ecomintent_batch.cli.app import app
from ecomintent_batch.training.labels_file import read_labels

PAGE = (ROOT / "docs" / "taxonomy.md").read_text(encoding="utf-8")


def test_the_files_that_the_page_shows_are_read(tmp_path):
    """Each TOML block is a labels file that is accepted as it stands."""
    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE, re.M | re.S)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        assert tomllib.loads(block)
        (tmp_path / f"{number}.toml").write_text(block, encoding="utf-8")
        assert read_labels(str(tmp_path / f"{number}.toml")).labels


@pytest.mark.slow
def test_from_a_labels_file_to_the_first_labelled_export(tmp_path, monkeypatch):
    """Every command of the page runs in a folder with the two samples, and the export bears the labels of the file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("labels.toml", "tickets.csv"):
        shutil.copy(ROOT / "sample_data" / name, name)
    examples = read_labels("labels.toml").examples
    pl.DataFrame(examples, schema=["text", "intent"], orient="row").write_csv("labelled.csv")
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("ecomintent-batch")]
    assert len(commands) >= 5
    for command in commands:
        done = CliRunner().invoke(app, shlex.split(command)[1:])
        assert done.exit_code == 0, f"{command}: {done.output}"
    labels = {*pl.read_parquet("labelled/predictions/*/*.parquet")["intent"].unique()}
    assert "SOMETHING_ELSE" in labels
    assert labels <= {label.name for label in read_labels("labels.toml").labels} | {
        "SOMETHING_ELSE"
    }
    assert len(labels) >= 8
