"""The files that hold the predictions of some runs: their own parts, and the files in which `compact` has merged them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ecomintent_batch.runs.records import Compaction, Manifest, MergedFile
from ecomintent_batch.storage.duck import escape_glob, quote_text
from ecomintent_batch.storage.s3 import let_read

_MOST_GROUPS = 8  # of files with the same columns


@dataclass(frozen=True, kw_only=True)
class Group:
    """Files that are read in one go.

    Attributes:
        files: Files or URLs.
        is_merged: Whether they have the column `run_id`; else the names of their folders say of which run they are.
        is_alike: Whether all have the same columns.
    """

    files: tuple[str, ...]
    is_merged: bool
    is_alike: bool


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The files of some runs.

    Attributes:
        groups: The files.
        runs: Of merged files, only the rows of these runs; None for all.
    """

    groups: tuple[Group, ...] = ()
    runs: tuple[str, ...] | None = None

    @property
    def own(self) -> list[str]:
        """The parts that belong to one run each."""
        return [file for group in self.groups if not group.is_merged for file in group.files]

    @property
    def merged(self) -> list[str]:
        """The files that hold many runs."""
        return [file for group in self.groups if group.is_merged for file in group.files]

    def select(self, connection: Any, *, unify: bool = True) -> str:
        """Let a DuckDB connection read the files; return the query for all their rows, with `run_id` as text.

        Files with the same columns are read without `union_by_name`, which opens each of them before the query starts.

        Args:
            connection: The connection.
            unify: Whether columns may be asked for that not every run has, or in another type.
        """
        let_read(connection, self.own + self.merged)
        selects = []
        for place, group in enumerate(self.groups):
            files = list(map(escape_glob, group.files))
            connection.execute(f"SET VARIABLE parts_{place} = ?", [files])
            options = (
                "hive_partitioning = false"
                if group.is_merged
                else "hive_partitioning = true, hive_types = {'run_id': VARCHAR}"
            )
            selects.append(
                f"SELECT * FROM read_parquet(getvariable('parts_{place}')::VARCHAR[], "  # noqa: S608 - names of this file
                f"union_by_name = {unify and not group.is_alike}, {options})"
                f"{self._where(connection) if group.is_merged else ''}"
            )
        return " UNION ALL BY NAME ".join(selects)

    def _where(self, connection: Any) -> str:
        if self.runs is None:
            return ""
        if len(self.runs) == 1:  # a comparison, which passes over the row groups of other runs
            return f" WHERE run_id = {quote_text(self.runs[0])}"
        connection.execute("SET VARIABLE merged_runs = ?", [list(self.runs)])
        return " WHERE run_id IN (SELECT unnest(getvariable('merged_runs')::VARCHAR[]))"


def find_parts(
    manifests: Sequence[Manifest],
    merged: Iterable[MergedFile],
    locate_own: Callable[[Manifest], list[str]],
    locate: Callable[[str], str],
) -> Parts:
    """Return the files that hold the predictions of some runs.

    Args:
        manifests: The runs.
        merged: The merged files that are in force.
        locate_own: Returns the places of the parts of a run that is not merged.
        locate: Returns the place of a key.
    """
    file_of = {run_id: file for file in merged for run_id in file.runs}
    alone = [run for run in manifests if run.run_id not in file_of and run.parts]
    wanted = {run.run_id for run in manifests if run.run_id in file_of}
    files = {file_of[run_id].file: file_of[run_id] for run_id in sorted(wanted)}
    own = [(run.schema_id, part) for run in alone for part in locate_own(run)]
    of_many = [(file.schema_id, locate(key)) for key, file in files.items()]
    is_whole = all(file.runs.keys() <= wanted for file in files.values())
    return Parts(
        groups=(*_group(own, is_merged=False), *_group(of_many, is_merged=True)),
        runs=None if is_whole else tuple(sorted(wanted)),
    )


def _group(files: Sequence[tuple[str | None, str]], *, is_merged: bool) -> list[Group]:
    """Return files by their columns; as one group where there are too many kinds."""
    by_schema: dict[str | None, list[str]] = {}
    for schema, file in files:
        by_schema.setdefault(schema, []).append(file)
    if len(by_schema) > _MOST_GROUPS:
        by_schema = {None: [file for _, file in files]}
    return [
        Group(files=tuple(some), is_merged=is_merged, is_alike=schema is not None or len(some) == 1)
        for schema, some in by_schema.items()
    ]


def list_in_force(
    compactions: Sequence[Compaction], existing: Iterable[str]
) -> tuple[MergedFile, ...]:
    """Return the merged files that count: they are there, and no later merge has replaced them.

    Args:
        compactions: The records.
        existing: The keys of the merged files that are there.
    """
    there = set(existing)
    replaced = list_replaced(compactions, there)
    return tuple(
        file
        for record in compactions
        for file in record.files
        if file.file in there and file.file not in replaced
    )


def list_replaced(compactions: Sequence[Compaction], existing: Iterable[str]) -> set[str]:
    """Return the keys of the merged files that a later merge has replaced: one whose own files are there."""
    there = set(existing)
    return {
        key
        for record in compactions
        if not record.files or any(file.file in there for file in record.files)
        for key in record.replaces
    }
