"""The merged files of a local folder: which are in force, how they are put in place, and what a crash leaves of them.

    OUT/staging/merged-<id>/                               the files under way, later the folder that was replaced
    OUT/compactions/merged-<id>.json                       the record; it counts once its files are there
    OUT/predictions/run_id=merged-<id>/part-00000.parquet  in place of the parts of the runs that they hold

OUT/predictions is replaced as a whole, by one exchange of two names, so that a glob over it never counts a ticket twice. A file
system that cannot do that gets the merged files first and loses the parts after them, one run at a time: who reads what
manifests list sees no difference, a plain glob does until the last is gone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ecomintent_batch.runs.layout import (
    COMPACTIONS,
    MERGED,
    PREDICTIONS,
    STAGING,
    RunKeys,
    compaction_key,
    merged_folder,
)
from ecomintent_batch.runs.parts import list_in_force, list_replaced
from ecomintent_batch.runs.records import Compaction, MergedFile, read_record
from ecomintent_batch.storage.atomic import exchange, flush_to_disk, link_tree


def read_compactions(out: Path) -> list[Compaction]:
    """Return the records of a local OUT, oldest first."""
    return [
        read_record(Compaction, file)
        for file in sorted((out / COMPACTIONS).glob(f"{MERGED}*.json"))
    ]


def list_merged(out: Path) -> tuple[MergedFile, ...]:
    """Return the merged files of a local OUT that are in force."""
    compactions = read_compactions(out)
    return list_in_force(compactions, _list_keys(out)) if compactions else ()


def publish_merge(out: Path, built: Path, compaction: Compaction) -> None:
    """Put merged files in place of the parts and files that they hold; OUT is held.

    Args:
        out: The folder.
        built: The folder of the files, in the staging folder of the merge.
        compaction: Their record.
    """
    record = out / compaction_key(compaction.compaction_id)
    record.parent.mkdir(exist_ok=True)
    compaction.write(record)
    target = merged_folder(compaction.compaction_id)
    replaced = [*compaction.replaces, *_own_folders(compaction.files)]
    if not _exchange_tree(out, built, target, replaced) and compaction.files:
        built.rename(out / target)
        flush_to_disk(out / PREDICTIONS)
    sweep_merges(out)


def sweep_merges(out: Path) -> None:
    """Remove what merges have replaced, and what crashes have left of them; OUT is held."""
    for path, _ in list(find_merge_leftovers(out)):
        remove_merge_leftover(out, path)


def find_merge_leftovers(out: Path) -> Iterator[tuple[Path, str]]:
    """Yield what a merge has left, or a crash of it: its staging folder, what was replaced, records of nothing."""
    for staging in sorted((out / STAGING).glob(f"{MERGED}*")):
        yield staging, "what merging parts has left"
    compactions, keys = read_compactions(out), _list_keys(out)
    in_force = list_in_force(compactions, keys)
    kept = {file.file for file in in_force}
    # One that no record names is left alone: it may be the only copy of what it holds.
    for key in sorted(keys & list_replaced(compactions, keys)):
        yield out / key, "a merged file that was replaced"
    for key in _own_folders(in_force):
        if (out / key).exists():
            yield out / key, "parts that were merged"
    for record in compactions:
        if not kept.intersection(file.file for file in record.files):
            yield (
                out / compaction_key(record.compaction_id),
                "the record of merged files that are gone",
            )


def is_of_merge(out: Path, path: Path) -> bool:
    """Return whether a path belongs to a merge, and not to a run."""
    return (
        path.relative_to(out)
        .as_posix()
        .startswith((f"{STAGING}/{MERGED}", f"{PREDICTIONS}/run_id={MERGED}", f"{COMPACTIONS}/"))
    )


def remove_merge_leftover(out: Path, path: Path) -> None:
    """Remove one of them."""
    if path.parent == out / PREDICTIONS:
        hidden = out / STAGING / f"{MERGED}{path.name}"  # gone for a glob at once
        path.rename(hidden)
        path = hidden
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    path.unlink(missing_ok=True)
    if path.suffix == ".parquet" and not any(path.parent.iterdir()):
        path.parent.rmdir()


def _exchange_tree(out: Path, built: Path, target: str, replaced: Sequence[str]) -> bool:
    """Exchange OUT/predictions for a copy of it with the merged files, without what they replace."""
    tree = built.parent / PREDICTIONS
    gone = {out / key for key in replaced}
    try:
        tree.mkdir()
        for folder in sorted((out / PREDICTIONS).iterdir()):
            if folder in gone:
                continue
            link_tree(folder, tree / folder.name)
        for key in replaced:
            if key.endswith(".parquet"):
                _unlink_file(tree.parent / key)
        if any(built.iterdir()):
            built.rename(tree.parent / target)
        if exchange(tree, out / PREDICTIONS):
            flush_to_disk(out)
            return True
    except OSError:
        pass
    if (tree.parent / target).exists():
        (tree.parent / target).rename(built)
    shutil.rmtree(tree, ignore_errors=True)
    return False


def _unlink_file(file: Path) -> None:
    file.unlink(missing_ok=True)
    if not any(file.parent.iterdir()):
        file.parent.rmdir()


def _own_folders(files: Sequence[MergedFile]) -> list[str]:
    return [RunKeys(run_id=run_id).predictions for file in files for run_id in file.runs]


def _list_keys(out: Path) -> set[str]:
    """Return the keys of the merged files that are there."""
    files = (out / PREDICTIONS).glob(f"run_id={MERGED}*/*.parquet")
    return {file.relative_to(out).as_posix() for file in files}
