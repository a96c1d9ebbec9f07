"""The warehouses of the tests of the warehouse, and a provider of mail on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from roster_pipeline_tests.notifications.providers import FakeSendGrid
from roster_pipeline_tests.warehouse.conftest import postgresql_server, warehouse, warehouse_url

__all__ = ["postgresql_server", "warehouse", "warehouse_url"]


@pytest.fixture
def sendgrid(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSendGrid]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FakeSendGrid() as server:
        yield server
