"""A provider of mail on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from roster_pipeline_tests.notifications.providers import FakeSendGrid


@pytest.fixture
def sendgrid(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSendGrid]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FakeSendGrid() as server:
        yield server
