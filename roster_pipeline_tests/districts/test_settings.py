"""The settings as a whole: their defaults, and the hash that says whether an import may differ."""

from __future__ import annotations

from datetime import date
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


def identity(suites: Suites = SUITES, today: date = date(2026, 11, 24), **sections: Any) -> str:
    return settings_hash(district(**sections), suites, today)


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
    "apps": {"csv_upload": {}},
    "hold": {"delete_percent": 1},
    "schedule": {"when": "daily", "at": "02:00"},
    "notifications": {"alerts": ["it@oak.example"]},
    "reports": {"show_names": True},
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


def test_a_filter_that_goes_by_the_day_makes_each_day_another_identity() -> None:
    past = ({"enrollment": {"end_date": {"is_past": None}}},)
    monday, tuesday = date(2026, 11, 23), date(2026, 11, 24)
    assert identity(today=monday) == identity(today=tuesday)
    assert identity(today=monday, filters=past) != identity(today=tuesday, filters=past)


def test_an_app_sets_anew_only_the_sections_it_names() -> None:
    settings = district(
        data_requirements={"student": {"email": "report"}},
        hold={"delete_percent": 10},
        apps={"sftp": {"hold": {"delete_percent": 3}}, "csv_upload": {}},
    )
    by_sftp, by_upload = settings.for_app("sftp"), settings.for_app("csv_upload")
    assert (by_sftp.hold.delete_percent, by_upload.hold.delete_percent) == (3, 10)
    assert by_sftp.data_requirements == {"student": {"email": "report"}}
    assert settings.for_app("undo") == settings


def test_an_app_that_is_not_named_is_not_active() -> None:
    assert district().active_apps() == ["sftp", "csv_upload"]
    assert district(apps={"sftp": {}}).active_apps() == ["sftp"]


@pytest.mark.parametrize(
    "sections",
    [
        {"schedule": {"when": "weekly", "at": "02:00"}},
        {"schedule": {"when": "daily", "at": "02:00", "days": ["mon"]}},
        {"schedule": {"when": "daily", "at": "24:00"}},
        {"notifications": {"digest": ["nobody"]}},
        {"apps": {"sftp": {"server": {"host": "h", "username": "u", "host_key": "k"}}}},
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(sections: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        district(**sections)


ED25519 = "AAAAC3NzaC1lZDI1NTE5AAAAIJBtGcHomXlC63hrAO/Y6dfV/TFQs0s/+eVNCKWTXMJk"


def own_server(host_key: str) -> DistrictSettings:
    server = {"host": "h", "username": "u", "password_env": "P", "host_key": host_key}
    return district(apps={"sftp": {"server": server}})


@pytest.mark.parametrize(
    "host_key",
    [
        f"ssh-ed25519 {ED25519}",
        f"ssh-ed25519 {ED25519} root@sftp.oak.example",
        f"SHA256:{'A' * 43}",
        f"SHA256:{'A' * 43}=",
    ],
)
def test_a_server_is_pinned_by_its_public_key_or_its_fingerprint(host_key: str) -> None:
    own_server(host_key)


@pytest.mark.parametrize(
    "host_key",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        f"ssh-rsa {ED25519}",
        f"ssh-ed25519 {ED25519[:-5]}!",
        f"sftp.oak.example ssh-ed25519 {ED25519}",
        "SHA256:AAAA",
        "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
    ],
)
def test_what_cannot_be_a_host_key_is_refused_with_what_can(host_key: str) -> None:
    with pytest.raises(ValidationError, match="allowed: the server's public key"):
        own_server(host_key)


def test_the_design_s_whole_file_is_read() -> None:
    settings = district(
        apps={
            "sftp": {
                "server": {
                    "host": "sftp.oak.example",
                    "username": "roster",
                    "private_key_file": "/etc/roster/oak",
                    "host_key": f"SHA256:{'A' * 43}",
                },
                "trigger": ["schedule"],
            }
        },
        schedule={"when": "weekly", "days": ["mon", "fri"], "at": "02:00", "until": "2027-06-30"},
        notifications={"digest": ["roster@oak.example"], "alerts": ["it@oak.example"]},
    )
    assert settings.apps.sftp is not None
    assert settings.apps.sftp.trigger == ("schedule",)
    assert settings.schedule is not None
    assert settings.schedule.until == date(2027, 6, 30)


@pytest.mark.parametrize("word", ["off", False, "ignore"])
def test_a_requirement_is_turned_off_by_off_as_well(word: object) -> None:
    settings = district(data_requirements={"student": {"email": word}})
    assert settings.data_requirements == {"student": {"email": "ignore"}}
