"""What is told at once, to whom, how often, and what never stands in a mail."""

from __future__ import annotations

from collections.abc import Sequence
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
from roster_pipeline_tests.notifications.books import (
    booked,
    district,
    held,
    mails,
    repeated,
    without_email,
)

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
UI = "https://roster.agency.example"
IT = "it@oak.example"
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
def test_what_is_listed_as_left_out_is_what_a_hold_counts(
    warehouse: Engine, tmp_path: Path
) -> None:
    districts = district(tmp_path / "districts")
    number = booked(warehouse, "held", NOW, [*without_email("s-1", "s-2"), repeated(7)])
    held(warehouse, number, NOW, Reason("reject", "3 received students were left out with faults."))
    post_alerts(warehouse, districts, UI, NOW)
    (mail,) = mails(warehouse).values()
    assert "- 2 students: No email\n- 1 student: A row that stands twice\n" in mail.text


@ON_SQLITE
@pytest.mark.parametrize(
    ("app", "delivery", "what"),
    [
        (
            "sftp",
            "2026/a",
            "- Then import the delivery again:\n    roster import oak --from-import 1",
        ),
        ("sftp", None, "- Then import the delivery again:\n    roster import oak\n"),
        ("csv_upload", None, "- Then upload the delivery again.\n"),
    ],
)
def test_a_failed_import_tells_how_to_repeat_it_and_nothing_of_what_was_half_looked_at(
    warehouse: Engine, tmp_path: Path, app: str, delivery: str | None, what: str
) -> None:
    districts = district(tmp_path / "districts", more="apps: {sftp: {}, csv_upload: {}}")
    booked(warehouse, "failed", NOW, without_email("s-1"), app=app, delivery=delivery)
    post_alerts(warehouse, districts, UI, NOW, lambda _: False)
    (mail,) = mails(warehouse).values()
    assert mail.subject == "Oak County: import 1 failed"
    assert what in mail.text
    assert "No email" not in mail.text + mail.html


@ON_SQLITE
def test_a_failed_import_that_is_tried_again_asks_nobody_to_do_anything(
    warehouse: Engine, tmp_path: Path
) -> None:
    districts = district(tmp_path / "districts")
    booked(warehouse, "failed", NOW, without_email("s-1"), delivery="2026/a", run_id="run-7")
    post_alerts(warehouse, districts, UI, NOW, {"run-7": True}.get)
    (mail,) = mails(warehouse).values()
    assert mail.subject == "Oak County: import 1 failed and is tried again"
    for form in (mail.text, mail.html):
        assert "The delivery is being imported again, without anybody doing anything." in form
        assert "Nothing, unless another mail says that the new attempt failed too." in form
        assert "roster imports oak" in form
        assert "--from-import" not in form
        assert "No email" not in form


@ON_SQLITE
def test_a_failed_import_is_told_when_its_run_has_ended_or_does_not_end(
    warehouse: Engine, tmp_path: Path
) -> None:
    districts = district(tmp_path / "districts")
    booked(warehouse, "failed", NOW)
    soon, late = NOW + timedelta(minutes=9), NOW + timedelta(minutes=10)
    assert post_alerts(warehouse, districts, UI, soon, lambda _: None) == 0
    assert post_alerts(warehouse, districts, UI, late, lambda _: None) == 1
    (mail,) = mails(warehouse).values()
    assert mail.subject == "Oak County: import 1 failed"


@ON_SQLITE
def test_an_undo_that_fails_is_not_told_to_the_district(warehouse: Engine, tmp_path: Path) -> None:
    districts = district(tmp_path / "districts")
    booked(warehouse, "failed", NOW, app=ledger.UNDO)
    assert post_alerts(warehouse, districts, UI, NOW) == 0


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
    assert "No email" not in mail.text + mail.html
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


def fail_run(engine: Engine, district_id: str | None = "oak", to: Sequence[str] = (IT,)) -> bool:
    """Tell of a failed run of import_roster."""
    with engine.begin() as conn:
        steps = ["landing_snapshot"]
        return post_run_failure(
            conn, district_id, "Oak County", to, "run-9", "import_roster", steps, UI, NOW
        )


@ON_SQLITE
@pytest.mark.parametrize(
    ("status", "app", "told", "ended"),
    [
        (None, "sftp", True, "A run of import_roster failed. The roster is as it was.\n"),
        ("running", "sftp", False, ""),
        ("failed", "sftp", False, ""),
        ("imported", "sftp", True, "Import 1 had ended before as imported.\n"),
        ("running", ledger.UNDO, True, "The roster is as it was.\n"),
        ("failed", ledger.UNDO, True, "The roster is as it was.\n"),
    ],
)
def test_a_run_that_failed_is_told_unless_its_import_is(
    warehouse: Engine, status: ledger.Status | None, app: str, told: bool, ended: str
) -> None:
    if status is not None:
        booked(warehouse, status, NOW, run_id="run-9", app=app)
    assert (fail_run(warehouse), fail_run(warehouse)) == (told, False)
    for mail in mails(warehouse).values():
        assert (mail.key, mail.recipients) == ("run-run-9-failed", [IT])
        assert mail.subject == "Oak County: a run of import_roster failed"
        assert ended in mail.text
        assert "It failed in: landing_snapshot." in mail.text
        assert f"{UI}/runs/run-9" in mail.text


@ON_SQLITE
def test_a_run_of_no_district_says_nothing_of_a_roster_and_nobody_named_means_no_mail(
    warehouse: Engine,
) -> None:
    assert not fail_run(warehouse, None, to=[])
    assert fail_run(warehouse, None)
    (mail,) = mails(warehouse).values()
    assert mail.text.startswith("A run of import_roster failed.\n")
