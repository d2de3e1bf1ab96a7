"""Models of labels files, made on first use and kept: `run --labels` finds them again by what they were made of."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from ecomintent_batch import __version__
from ecomintent_batch.errors import OutputError
from ecomintent_batch.inference.engines.model_folder import EMBEDDED
from ecomintent_batch.settings import RunSettings
from ecomintent_batch.storage.hashes import cache_folder, remembered_sha256
from ecomintent_batch.training.label_model import LabelModelOptions, LabelReport, make_label_model
from ecomintent_batch.training.labels_file import LabelSet, read_labels
from ecomintent_batch.training.plain_encoder import PLAIN


def with_labels(
    settings: RunSettings,
    note: Callable[[str], None],
    show: Callable[[LabelReport, Path], None] = lambda report, folder: None,
) -> RunSettings:
    """Return settings whose model is that of `--labels`; without these, the settings as they are.

    Args:
        settings: Of a run.
        note: Receives what is being done.
        show: Receives the report of a model that was made now, and its folder.
    """
    if settings.labels is None:
        return settings
    label_set = read_labels(str(settings.labels))
    folder = find_or_make(label_set, settings.unlabelled, note, show)
    return settings.model_copy(update={"model": str(folder)})


def find_or_make(
    label_set: LabelSet,
    unlabelled: str | None,
    note: Callable[[str], None],
    show: Callable[[LabelReport, Path], None],
) -> Path:
    """Return the model folder of a label set, made now where it is not there; two jobs make it once.

    Raises:
        OutputError: The cache folder cannot be written.
    """
    key = cache_folder() / "models" / _key(label_set, unlabelled)
    folder = key / label_set.name
    try:
        key.mkdir(parents=True, exist_ok=True)
        with FileLock(key / ".lock"):
            if (folder / "training.json").exists():
                note(f"model of {label_set.name}: {folder}")
                return folder
            shutil.rmtree(folder, ignore_errors=True)  # somebody has taken files out of it
            options = LabelModelOptions(unlabelled=unlabelled)
            show(make_label_model(label_set, folder, options, note), folder)
    except OSError as error:
        raise OutputError(
            f"{key}: expected a cache folder that can be written, found: {error.strerror}; set XDG_CACHE_HOME to another"
        ) from None
    return folder


def _key(label_set: LabelSet, unlabelled: str | None) -> str:
    """Return what a model is made of as a name: labels, unlabelled tickets, version of the package, encoders."""
    parts = [label_set.name, label_set.sha256, __version__]
    parts += [remembered_sha256(file) for file in (EMBEDDED / "model.safetensors", PLAIN)]
    if unlabelled:
        file = Path(unlabelled)
        parts.append(remembered_sha256(file) if file.is_file() else unlabelled)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
