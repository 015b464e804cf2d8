"""One way down, never back: who may import whom, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("realtime", "rooms", "canvas", "storage")

MAY_IMPORT = {
    "canvas": {"canvas"},
    "storage": {"storage"},
    "rooms": {"rooms", "canvas", "storage"},
    "realtime": {"realtime", "rooms", "canvas", "storage"},
}
"""Our own packages; nobody imports `tests` or `bench`."""

MUST_NOT_IMPORT = {
    "canvas": {"aiohttp", "socketio", "engineio", "redis", "sqlalchemy", "alembic"},
    "storage": {"aiohttp", "socketio", "engineio", "redis", "pycrdt", "PIL"},
    "rooms": {"aiohttp", "socketio", "engineio", "redis", "sqlalchemy", "alembic"},
    "realtime": {"sqlalchemy", "alembic", "pycrdt"},
}
"""What a layer knows nothing of: transports, SQL, or the engine of documents, which runs in workers only."""

COMPOSITION_ROOTS = {"realtime.app", "realtime.__main__"}
"""The modules that may see every part at once."""

VOCABULARY = {
    *("storage.keys", "storage.errors", "storage.pages"),
    *("rooms.errors", "rooms.permissions", "rooms.ports"),
    *("canvas.errors", "canvas.products"),
}
"""Names, errors, tables of constants and Protocols: to know them is not to see a part."""

EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}


@dataclass(frozen=True)
class Import:
    """One import as it is written: of a module, or of something that is in one."""

    module: str
    line: int
    is_at_start: bool
    """It runs when the module is imported: neither inside a function nor for types only."""


@cache
def modules() -> dict[str, Path]:
    """Every module of ours, by its dotted name."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(name: str) -> tuple[Import, ...]:
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    return tuple(_imports(tree, is_at_start=True))


def _imports(node: ast.AST, *, is_at_start: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, is_at_start)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports name the whole path"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                yield Import(whole if whole in modules() else child.module or "", child.lineno, is_at_start)
        else:
            is_later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_for_types(child)
            yield from _imports(child, is_at_start=is_at_start and not is_later)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def top(name: str) -> str:
    return name.partition(".")[0]


def test_there_is_something_to_look_at() -> None:
    assert {top(name) for name in modules()} == set(PACKAGES)
    assert any(found.module == "storage.keys" for found in imports("storage.update_log"))


def test_layers_are_imported_one_way_down() -> None:
    wrong = [
        f"{name}:{found.line} imports {found.module}"
        for name in modules()
        for found in imports(name)
        if top(found.module) in {*PACKAGES, "tests", "bench"} and top(found.module) not in MAY_IMPORT[top(name)]
    ]
    assert wrong == []


def test_a_layer_knows_nothing_of_what_is_not_its_own() -> None:
    wrong = [
        f"{name}:{found.line} imports {found.module}"
        for name in modules()
        for found in imports(name)
        if top(found.module) in MUST_NOT_IMPORT[top(name)]
    ]
    assert wrong == []


def test_only_the_composition_root_sees_every_part() -> None:
    wrong = []
    for name in modules():
        seen = {top(found.module) for found in imports(name) if found.module not in VOCABULARY}
        if name not in COMPOSITION_ROOTS and {"rooms", "canvas", "storage"} <= seen and top(name) == "realtime":
            wrong.append(name)
    assert wrong == []


def test_a_module_is_one_noun() -> None:
    assert [name for name in modules() if EMPTY_NAMES & set(name.split("."))] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_of_a_package_do_not_import_each_other_in_a_circle(package: str) -> None:
    graph = {
        name: sorted({found.module for found in imports(name) if found.is_at_start and found.module in modules()})
        for name in modules()
        if top(name) == package
    }
    assert _circle(graph) is None


def _circle(graph: dict[str, list[str]]) -> list[str] | None:
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        for other in graph.get(name, []):
            found = visit(other, [*path, name])
            if found is not None:
                return found
        done.add(name)
        return None

    for name in graph:
        found = visit(name, [])
        if found is not None:
            return found
    return None


def test_a_circle_would_be_found() -> None:
    assert _circle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]
    assert _circle({"a": ["b", "c"], "b": ["c"], "c": []}) is None
