"""Fixtures for the flows: real nodes, and designers who use them from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest

from tests.harness.designer import Designers
from tests.harness.node import Node


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """One node on its embedded default, with a data directory of its own."""
    async with Node(tmp_path / "data") as node:
        yield node


@pytest.fixture
async def designers() -> AsyncIterator[Designers]:
    """A Node process with nobody in it yet."""
    async with Designers() as designers:
        yield designers


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the nodes of a failed test said last."""
    report = yield
    if report.failed:
        for name, node in getattr(item, "funcargs", {}).items():
            if isinstance(node, Node):
                report.sections.append((f"{name} at {node.url}", "\n".join(list(node.output)[-60:])))
    return report
