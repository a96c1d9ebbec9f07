"""The settings as a whole: their defaults, and the hash that says whether an import may differ."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from roster_pipeline.districts import settings as module
from roster_pipeline.districts.settings import (
    DistrictSettings,
    is_district_id,
    settings_hash,
)
from roster_pipeline.oneroster.standard import DATA_FILES
from roster_pipeline.stages.data_requirements import Suites

SUITES = Suites({"student": {"name": "student", "expectations": []}})


def district(**sections: Any) -> DistrictSettings:
    return DistrictSettings.model_validate({"name": "Anytown", **sections})


def identity(suites: Suites = SUITES, **sections: Any) -> str:
    return settings_hash(district(**sections), suites)


def test_every_section_has_a_default_but_the_name() -> None:
    settings = district()
    assert settings.required_files == DATA_FILES
    assert settings.timezone == "UTC"
    assert settings.include_linked is True
    assert not settings.attributes
    assert not settings.filters
    with pytest.raises(ValidationError):
        DistrictSettings.model_validate({})


def test_settings_cannot_be_changed_once_they_are_read() -> None:
    with pytest.raises(ValidationError):
        district().name = "Other"  # type: ignore[misc]


SECTIONS: dict[str, Any] = {
    "required_files": ["users", "orgs"],
    "user_types": {"aide": "admin"},
    "attributes": {"student": {"sis_id": "identifier"}},
    "data_requirements": {"student": {"email": "report"}},
    "filters": [{"student": {"grades": {"in": ["01"]}}}],
    "include_linked": False,
    "uniqueness": {"student": [{"attributes": ["sis_id"]}]},
    "schools": {"auto_map": False},
}
WITHOUT_EFFECT: dict[str, Any] = {
    "name": "Other",
    "timezone": "Asia/Tokyo",
    "hold": {"delete_percent": 1},
}
"""What says nothing about what an import makes of a delivery."""


def test_of_every_section_it_is_settled_whether_it_can_change_a_result() -> None:
    assert {*SECTIONS, *WITHOUT_EFFECT} == set(DistrictSettings.model_fields)


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_changes_the_hash(section: str) -> None:
    assert identity(**{section: SECTIONS[section]}) != identity()


def test_hashes_of_different_sections_differ_from_each_other() -> None:
    hashes = {identity(**{section: value}) for section, value in SECTIONS.items()}
    assert len(hashes) == len(SECTIONS)


def test_a_value_deep_within_a_section_changes_the_hash() -> None:
    one, other = (
        identity(filters=[{"student": {"grades": {"in": ["01", last]}}}]) for last in ("02", "03")
    )
    assert one != other


@pytest.mark.parametrize("section", WITHOUT_EFFECT)
def test_what_cannot_change_a_result_does_not_change_the_hash(section: str) -> None:
    assert identity(**{section: WITHOUT_EFFECT[section]}) == identity()


def test_a_default_that_is_written_out_does_not_change_the_hash() -> None:
    assert identity(required_files=list(DATA_FILES), filters=[], include_linked=True) == identity()


def test_the_suites_and_the_version_of_the_program_change_the_hash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Suites({"student": {"name": "student", "expectations": [{"type": "x"}]}})
    before = identity()
    assert identity(other) != before
    monkeypatch.setattr(module, "__version__", "0.0.0-other")
    assert identity() != before


def test_a_hash_is_64_hexadecimal_digits_and_always_the_same() -> None:
    assert len(identity()) == 64
    assert int(identity(), 16) >= 0
    assert identity() == identity()


@pytest.mark.parametrize("text", ["anytown", "a1", "a-b-c"])
def test_what_can_be_an_id(text: str) -> None:
    assert is_district_id(text)


@pytest.mark.parametrize("text", ["anytown\n", "a/b", "a.b", "Anytown", "a" * 64, "é-town"])
def test_what_cannot_be_an_id(text: str) -> None:
    assert not is_district_id(text)


def test_the_time_zone_is_one_to_calculate_with() -> None:
    assert district(timezone="America/Chicago").zone.key == "America/Chicago"
