"""What tests of the landing zone may watch."""

from __future__ import annotations

import pytest
from argon2 import Parameters, extract_parameters

from roster_pipeline.landing import accounts


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Parameters]:
    """What each check of a password costs, in the order in which they are made: with equal
    parameters it takes equally long, whosever password it is."""
    made = list[Parameters]()
    hasher = accounts._HASHER

    class Watched:
        hash = staticmethod(hasher.hash)

        def verify(self, hashed: str, password: str) -> bool:
            made.append(extract_parameters(hashed))
            return hasher.verify(hashed, password)

    monkeypatch.setattr(accounts, "_HASHER", Watched())
    return made
