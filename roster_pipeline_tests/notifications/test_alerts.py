"""What is told at once, to whom, how often, and what never stands in a mail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import Engine

from roster_pipeline.districts.files import load_district
from roster_pipeline.findings import finding
from roster_pipeline.notifications.alerts import (
    LandingKind,
    post_alerts,
    post_landing_alert,
    post_run_failure,
)
from roster_pipeline.stages.hold import Reason
from roster_pipeline.warehouse import holds, ledger
from roster_pipeline_tests.notifications.books import booked, district, held, mails, without_email

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
UI = "https://roster.agency.example"
ON_SQLITE = pytest.mark.parametrize("warehouse_url", ["sqlite"], indirect=True)


def test_each_import_that_needs_somebody_is_told_once(warehouse: Engine, tmp_path: Path) -> None:
    districts = district(tmp_path / "districts")
    ended: list[ledger.Status] = ["imported", "unchanged", "refused", "failed", "rejected"]
    for status in ended:
        booked(warehouse, status, NOW)
    booked(warehouse, "needs_school_mapping", NOW, message="2 organisations wait to be mapped.")
    assert post_alerts(warehouse, districts, UI, NOW) == 3
    held(warehouse, booked(warehouse, "held", NOW), NOW, Reason("delete", "It deletes 9 classes."))
    booked(warehouse, "running", NOW)
    assert post_alerts(warehouse, districts, UI, NOW) == 1
    assert post_alerts(warehouse, districts, UI, NOW) == 0
    told = mails(warehouse)
    assert list(told) == [
        "import-3-refused",
        "import-4-failed",
        "import-6-needs_school_mapping",
        "import-7-held-1",
    ]
    assert "2 organisations wait to be mapped." in told["import-6-needs_school_mapping"].text
    assert {address for mail in told.values() for address in mail.recipients} == {"it@oak.example"}


def test_a_hold_tells_its_reasons_causes_counts_and_what_to_do(
    warehouse: Engine, tmp_path: Path
) -> None:
    districts = district(tmp_path / "districts")
    number = booked(warehouse, "held", NOW, without_email("s-1", "s-2"))
    held(warehouse, number, NOW, Reason("delete", "It deletes 120 of 300 students (40.0 %)."))
    post_alerts(warehouse, districts, UI, NOW)
    (mail,) = mails(warehouse).values()
    assert mail.subject == "Oak County: import 1 waits for a decision"
    for form in (mail.text, mail.html):
        assert "It deletes 120 of 300 students (40.0 %)." in form
        assert "12 people have new ids." in form
        assert "2 students: No email" in form
        assert "Tuesday 24 November 2026, 10:59 (America/Denver)" in form
        assert "roster show 1" in form
        assert "roster approve 1 --reason" in form
        assert "https://roster.agency.example/runs/run-1" in form
        assert "s-1" not in form


def test_a_plan_that_is_held_again_is_told_again(warehouse: Engine, tmp_path: Path) -> None:
    districts = district(tmp_path / "districts")
    number = booked(warehouse, "held", NOW)
    held(warehouse, number, NOW, Reason("delete", "It deletes 9 classes."))
    assert post_alerts(warehouse, districts, UI, NOW) == 1
    with warehouse.begin() as conn:
        holds.approve(conn, number, "ann", "it is right", None, NOW)
    ledger.resume_import(warehouse, number, "run-2", "", NOW)
    assert post_alerts(warehouse, districts, UI, NOW) == 0
    with warehouse.begin() as conn:
        ledger.finish_import(conn, number, "held", NOW)
    held(warehouse, number, NOW, Reason("changed", "The plan is another."))
    assert post_alerts(warehouse, districts, UI, NOW) == 1
    assert list(mails(warehouse)) == ["import-1-held-1", "import-1-held-2"]


@ON_SQLITE
def test_what_people_and_exceptions_wrote_is_in_no_mail(warehouse: Engine, tmp_path: Path) -> None:
    districts = district(tmp_path / "districts")
    booked(warehouse, "failed", NOW, message="ValueError: Zyxwv Smith")
    number = booked(warehouse, "held", NOW)
    turned_down = "The files are those of import 1, which was rejected. Rejected by ann: Zyxwv. No"
    held(warehouse, number, NOW, Reason("rejected_before", turned_down))
    post_alerts(warehouse, districts, UI, NOW)
    failed, waits = mails(warehouse).values()
    assert "Zyxwv" not in failed.text + failed.html + waits.text + waits.html
    assert "- The files are those of import 1, which was rejected.\n" in waits.text


@ON_SQLITE
def test_a_refusal_tells_what_is_wrong_and_how_to_mend_it(
    warehouse: Engine, tmp_path: Path
) -> None:
    districts = district(tmp_path / "districts")
    fatal = finding("delta_without_base", file="users.csv")
    booked(warehouse, "refused", NOW, [fatal, *without_email("s-1")], run_id=None)
    post_alerts(warehouse, districts, UI, NOW)
    (mail,) = mails(warehouse).values()
    assert mail.subject == "Oak County: import 1 was refused"
    assert f"- {fatal.message} {fatal.how_to_fix}\n" in mail.text
    assert "roster findings 1" in mail.text
    assert "/runs/" not in mail.text


@ON_SQLITE
def test_a_name_that_is_html_stays_a_name(warehouse: Engine, tmp_path: Path) -> None:
    districts = district(tmp_path / "districts")
    number = booked(warehouse, "held", NOW)
    held(warehouse, number, NOW, Reason("school_delete", "<script>x</script> loses 9 classes."))
    post_alerts(warehouse, districts, UI, NOW)
    (mail,) = mails(warehouse).values()
    assert "&lt;script&gt;x&lt;/script&gt; loses 9 classes." in mail.html
    assert "<script>" not in mail.html
    assert "<script>x</script> loses 9 classes." in mail.text


@ON_SQLITE
def test_old_news_and_previews_are_not_told(warehouse: Engine, tmp_path: Path) -> None:
    districts = district(tmp_path / "districts")
    booked(warehouse, "failed", NOW - timedelta(days=8))
    booked(warehouse, "refused", NOW, preview=True)
    assert post_alerts(warehouse, districts, UI, NOW) == 0


@ON_SQLITE
def test_who_is_told_is_as_the_app_says_and_nobody_where_nobody_is_named(
    warehouse: Engine, tmp_path: Path
) -> None:
    upload = "apps: {sftp: {}, csv_upload: {notifications: {alerts: [up@oak.example]}}}"
    districts = district(tmp_path / "districts", more=upload)
    district(districts, "elm", to="alerts: []")
    booked(warehouse, "failed", NOW, app="csv_upload")
    booked(warehouse, "failed", NOW, district_id="elm")
    booked(warehouse, "failed", NOW, district_id="gone")
    assert post_alerts(warehouse, districts, UI, NOW) == 1
    (mail,) = mails(warehouse).values()
    assert mail.recipients == ["up@oak.example"]


@ON_SQLITE
def test_a_district_whose_file_is_wrong_is_told_when_it_is_mended(
    warehouse: Engine, tmp_path: Path
) -> None:
    districts = district(tmp_path / "districts")
    path = districts / "oak.yaml"
    right = path.read_text()
    path.write_text("nmae: Oak\n")
    booked(warehouse, "failed", NOW)
    assert post_alerts(warehouse, districts, UI, NOW) == 0
    path.write_text(right)
    assert post_alerts(warehouse, districts, UI, NOW) == 1


@ON_SQLITE
@pytest.mark.parametrize("kind", get_args(LandingKind))
def test_trouble_with_a_landing_zone_is_told_once_for_each_time(
    warehouse: Engine, tmp_path: Path, kind: LandingKind
) -> None:
    settings = load_district(district(tmp_path / "districts"), "oak")
    fact = "Since Tuesday 24 November 2026, 02:00."

    def tell(about: str) -> bool:
        with warehouse.begin() as conn:
            return post_landing_alert(conn, "oak", settings, kind, about, [fact], NOW)

    assert [tell("2026-11-24T02.00"), tell("2026-11-24T02.00"), tell("2026-12-01T02.00")] == [
        True,
        False,
        True,
    ]
    mail = mails(warehouse)[f"{kind}-oak-2026-11-24T02.00"]
    assert mail.subject.startswith("Oak County: ")
    assert fact in mail.text and fact in mail.html
    assert "roster landing test oak" in mail.text or "roster landing status" in mail.text


@ON_SQLITE
@pytest.mark.parametrize(
    ("status", "told"), [(None, True), ("running", False), ("failed", False), ("imported", True)]
)
def test_a_run_that_failed_is_told_unless_its_import_is(
    warehouse: Engine, tmp_path: Path, status: ledger.Status | None, told: bool
) -> None:
    settings = load_district(district(tmp_path / "districts"), "oak")
    if status is not None:
        booked(warehouse, status, NOW, run_id="run-9")

    def tell() -> bool:
        with warehouse.begin() as conn:
            return post_run_failure(
                conn, "oak", settings, "run-9", "import_roster", ["landing_snapshot"], UI, NOW
            )

    assert (tell(), tell()) == (told, False)
    for mail in mails(warehouse).values():
        assert mail.key == "run-run-9-failed"
        assert "landing_snapshot" in mail.text
        assert ("Import 1 had ended before as imported." in mail.text) == (status == "imported")
        assert f"{UI}/runs/run-9" in mail.text
