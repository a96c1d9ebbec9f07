"""What Dagster shows of a district: every import renews `data_quality` and `overview`, writes its
report, and says the same numbers by the same names, so that they can be plotted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster import AssetCheckEvaluation as Evaluation
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset
from dagster._core.event_api import PartitionKeyFilter
from sqlalchemy import Engine

from roster_pipeline.definitions import defs
from roster_pipeline.defs import checks
from roster_pipeline.defs.mail import mail_sensor
from roster_pipeline.defs.partitions import DISTRICTS
from roster_pipeline.defs.quality_assets import data_quality, overview
from roster_pipeline.defs.resources import HouseResource
from roster_pipeline.defs.views import (
    overview_metadata,
    quality_metadata,
    renew_views,
    tell_unreached,
)
from roster_pipeline.findings import findings_frame
from roster_pipeline.reports.html import report_path
from roster_pipeline.reports.statuses import STATUS_WORDS
from roster_pipeline.roster import Roster, empty_texts
from roster_pipeline.settings import Settings, load_settings, prepare_home
from roster_pipeline.warehouse import ledger, queries, results
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline.warehouse.lock import district_lock
from roster_pipeline_tests.conftest import Roster as Command
from roster_pipeline_tests.end_to_end.deliveries import (
    district,
    students,
    without_people,
    written,
)
from roster_pipeline_tests.reports.books import book, district_file, found, quality
from roster_pipeline_tests.warehouse.plans import DISTRICT, MONDAY, plan, run_import

VIEWS = ("data_quality", "overview")
REFUSED = [found(None, "zip_damaged", "fatal", row=None, kind=None, message="It was cut short.")]


@pytest.fixture
def settings(home: Path) -> Settings:
    settings = load_settings()
    prepare_home(settings)
    district_file(settings.districts)
    return settings


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = open_warehouse(settings.warehouse_url)
    yield engine
    engine.dispose()


def events(instance: dg.DagsterInstance, asset: str) -> list[dg.AssetMaterialization]:
    """An asset's materialisations, oldest first."""
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=50).records
    return [r.asset_materialization for r in reversed(records) if r.asset_materialization]


def kinds(metadata: dict[str, object]) -> dict[str, str]:
    return {name: type(value).__name__ for name, value in metadata.items()}


def test_a_report_that_cannot_be_written_leaves_the_views_renewed_and_nothing_behind(
    engine: Engine, settings: Settings
) -> None:
    import_id = book(engine, "imported", [], rows=9)
    path = report_path(settings.reports, DISTRICT, import_id)
    (path / "in the way").mkdir(parents=True)
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(OSError, match=path.name):
            renew_views(instance, engine, settings, DISTRICT, [import_id])
        assert [len(events(instance, view)) for view in VIEWS] == [1, 1]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("status", [s for s in STATUS_WORDS if s not in ("running", "superseded")])
def test_an_import_renews_the_views_however_it_ended(
    engine: Engine, settings: Settings, status: ledger.Status
) -> None:
    import_id = book(engine, status, REFUSED if status == "refused" else [], rows=9)
    with dg.DagsterInstance.ephemeral() as instance:
        renew_views(instance, engine, settings, DISTRICT, [import_id])
        told = [events(instance, view) for view in VIEWS]
    assert [len(events) for events in told] == [1, 1]
    assert {event.partition for view in told for event in view} == {DISTRICT}
    assert str(told[0][0].metadata["status"].value).startswith(STATUS_WORDS[status][0])
    assert report_path(settings.reports, DISTRICT, import_id).exists()


def test_an_import_that_runs_is_not_told_yet(engine: Engine, settings: Settings) -> None:
    import_id = book(engine, "running")
    with dg.DagsterInstance.ephemeral() as instance:
        renew_views(instance, engine, settings, DISTRICT, [import_id])
        assert events(instance, "data_quality") == []
    assert not report_path(settings.reports, DISTRICT, import_id).exists()


def test_what_is_shown_is_of_the_newest_import_and_reports_are_of_those_that_changed(
    engine: Engine, settings: Settings
) -> None:
    held, refused = book(engine, "held", rows=9, days=1), book(engine, "refused", REFUSED)
    with engine.begin() as conn:
        ledger.finish_import(conn, held, "rejected", MONDAY + timedelta(days=2), "Rejected by ada.")
    with dg.DagsterInstance.ephemeral() as instance:
        renew_views(instance, engine, settings, DISTRICT, [held])
        (told,) = events(instance, "data_quality")
    assert str(told.metadata["import"].value).startswith(f"{refused} (")
    assert "Rejected by ada." in report_path(settings.reports, DISTRICT, held).read_text()
    assert not report_path(settings.reports, DISTRICT, refused).exists()


WITHIN, ADDS_UP, DATA = (
    checks.WITHIN_HOLD_THRESHOLDS,
    checks.COUNTS_ADD_UP,
    *checks.finding_specs("complete_roster"),
)
HOW_TO_DECIDE = {"reasons": "Too much.", checks.WHAT_TO_DO: "Launch approve_import."}


def report_check(
    instance: dg.DagsterInstance, run_id: str, said: AssetCheckEvaluationPlanned | Evaluation
) -> None:
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    if isinstance(said, AssetCheckEvaluationPlanned):
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    event = dg.DagsterEvent(kind.value, "import_roster", event_specific_data=said)
    instance.report_dagster_event(event, run_id)


def plans(instance: dg.DagsterInstance, run_id: str, *specs: dg.AssetCheckSpec) -> None:
    """A run that is to evaluate these checks."""
    for spec in specs:
        subset = DefaultPartitionsSubset({DISTRICT})
        planned = AssetCheckEvaluationPlanned(
            asset_key=spec.asset_key, check_name=spec.name, partitions_subset=subset
        )
        report_check(instance, run_id, planned)


def evaluated(
    instance: dg.DagsterInstance, run_id: str, spec: dg.AssetCheckSpec, *, passed: bool, **said: str
) -> None:
    """A check of the district that a run has evaluated."""
    plans(instance, run_id, spec)
    warning = dg.AssetCheckSeverity.WARN
    check = Evaluation(
        spec.asset_key, spec.name, passed, said, severity=warning, partition=DISTRICT
    )
    report_check(instance, run_id, check)


def holds(instance: dg.DagsterInstance, engine: Engine, run_id: str) -> int:
    """An import that is held in a run, which has found its data complete."""
    import_id = ledger.start_import(engine, DISTRICT, "sftp", run_id, False, "", MONDAY)
    evaluated(instance, run_id, DATA, passed=True)
    evaluated(instance, run_id, WITHIN, passed=False, **HOW_TO_DECIDE)
    with engine.begin() as conn:
        ledger.finish_import(conn, import_id, "held", MONDAY)
    return import_id


def says(
    instance: dg.DagsterInstance, spec: dg.AssetCheckSpec, district_id: str = DISTRICT
) -> Evaluation:
    """What Dagster shows of a check of a district."""
    storage = instance.event_log_storage
    record = storage.get_latest_asset_check_execution_by_key(
        [spec.key], PartitionKeyFilter(key=district_id)
    )[spec.key]
    assert isinstance(record.evaluation, Evaluation), "it was planned, and nothing was said"
    (shown,) = storage.get_asset_check_partition_info([spec.key], partition_keys=[district_id])
    assert shown.is_current, "or Dagster would show it as missing"
    return record.evaluation


def test_checks_that_an_import_did_not_reach_say_so_and_what_they_said_before_stands(
    engine: Engine, settings: Settings
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        holds(instance, engine, "first")
        refused = ledger.start_import(engine, DISTRICT, "sftp", "second", False, "", MONDAY)
        plans(instance, "second", checks.DELIVERY_IS_ACCEPTED, DATA, ADDS_UP, WITHIN)
        with engine.begin() as conn:
            results.record_findings(conn, refused, findings_frame(REFUSED))
            ledger.finish_import(conn, refused, "refused", MONDAY)
        renew_views(instance, engine, settings, DISTRICT, [refused])
        first, before, waits, accepted = (
            says(instance, spec) for spec in (ADDS_UP, DATA, WITHIN, checks.DELIVERY_IS_ACCEPTED)
        )
    why = f"Not reached: import {refused} was refused before; `roster show {refused}` says why."
    assert (first.passed, first.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert first.description == why
    stands = f"{why} What is shown here is of an earlier import."
    assert (before.passed, before.description) == (True, stands)
    assert (waits.passed, waits.description) == (False, stands)
    assert {name: told.value for name, told in waits.metadata.items()} == HOW_TO_DECIDE
    assert (accepted.passed, accepted.severity) == (False, dg.AssetCheckSeverity.ERROR)


def test_what_was_decided_on_says_no_more_how_to_decide_and_hides_no_later_run(
    engine: Engine, settings: Settings
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        held = holds(instance, engine, "first")
        plans(instance, "second", WITHIN)
        tell_unreached(instance, DISTRICT, "second", "it failed.")
        assert checks.WHAT_TO_DO in says(instance, WITHIN).metadata
        with engine.begin() as conn:
            ledger.finish_import(conn, held, "rejected", MONDAY, "Rejected by ada: half of it.")
        plans(instance, "queued", DATA)
        renew_views(instance, engine, settings, DISTRICT, [held])
        told = {name: told.value for name, told in says(instance, WITHIN).metadata.items()}
        (last,) = instance.event_log_storage.get_asset_check_execution_history(DATA.key, 1)
    assert told == {"reasons": "Too much.", "decided": "Rejected by ada: half of it."}
    assert last.run_id == "queued"


def test_what_a_run_did_not_reach_that_came_to_no_import_says_so(
    engine: Engine, home: Path
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(DISTRICTS.name or "", [DISTRICT])

        def fails() -> None:
            job = defs.resolve_job_def("import_roster")
            config = {"ops": {"landing_snapshot": {"config": {"from_import": 9}}}}
            assert not job.execute_in_process(
                config, instance=instance, partition_key=DISTRICT, raise_on_error=False
            ).success

        fails()
        before = "Not reached: the run ended before it came to an import; its page says why."
        assert says(instance, ADDS_UP).description == before
        with district_lock(engine, DISTRICT):
            fails()
        assert "Not reached: Another import of" in str(says(instance, ADDS_UP).description)


@pytest.mark.parametrize("looks", ["mail_sensor", "roster imports"])
def test_an_import_whose_process_was_killed_is_told_of_by_whoever_finds_it(
    engine: Engine,
    settings: Settings,
    roster: Command,
    looks: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    lost = ledger.start_import(engine, DISTRICT, "sftp", "killed", False, "", MONDAY)
    with dg.DagsterInstance.get() as instance:
        plans(instance, "killed", DATA)
        if looks == "mail_sensor":
            mail_sensor(dg.build_sensor_context(instance, resources={"house": HouseResource()}))
        else:
            assert roster("imports").code == 0
        (told,) = events(instance, "data_quality")
        assert str(told.metadata["status"].value).startswith("Failed. The process that ran this")
        assert f"import {lost} failed before" in str(says(instance, DATA).description)
    assert "The process that ran this" in report_path(settings.reports, DISTRICT, lost).read_text()


def test_numbers_have_the_same_names_and_kinds_whatever_came(
    engine: Engine, settings: Settings
) -> None:
    run_import(engine, plan({"student": [("added", "s-1", {})]}))
    ends = [
        book(engine, "refused", REFUSED),
        book(engine, rows=9, findings=[found("s-1"), found("s-2", row=3)]),
        book(engine, "held", rows=8),
        book(engine, "failed"),
    ]
    told = [
        dg.AssetMaterialization(
            "x", metadata=quality_metadata(settings.reports, quality(engine, i))
        )
        for i in ends
    ]
    shapes = [kinds(dict(event.metadata)) for event in told]
    assert all(shape == shapes[0] for shape in shapes)
    scores = [event.metadata["score, of 100"].value for event in told]
    assert scores == [0.0, 77.8, 100.0, 0.0]
    with reading(engine) as conn:
        some, none = (overview_metadata(queries.overview(conn, d), d) for d in (DISTRICT, "empty"))
    assert kinds(some) == kinds(none)
    assert (some["students"], none["students"]) == (1, 0)


def test_the_table_of_rules_says_what_is_new_and_what_shows_all(
    engine: Engine, settings: Settings
) -> None:
    book(engine, rows=9, findings=[found("s-1")])
    import_id = book(engine, rows=9, findings=[found("s-2")])
    metadata = quality_metadata(settings.reports, quality(engine, import_id))
    assert [dict(record.data) for record in metadata["by rule"].records] == [
        {
            "severity": "skipped",
            "of": "student",
            "rule": "No email",
            "findings": 1,
            "new": 1,
            "gone": 1,
            "code": "email_missing",
        }
    ]
    assert f"roster findings {import_id} --code CODE" in metadata["all findings"]
    assert (metadata["findings, new"], metadata["findings, gone"]) == (1, 1)


def test_schools_of_one_name_have_a_line_each(engine: Engine) -> None:
    schools = [("added", n, {"name": "Lincoln"}) for n in ("1", "2")]
    pupils = [("added", f"s-{n}", {"primary_school": n}) for n in ("1", "2", "district")]
    run_import(engine, plan({"school": schools, "student": pupils}))
    with reading(engine) as conn:
        overview = queries.overview(conn, DISTRICT)
        lines = overview_metadata(overview, DISTRICT)["by school"].records
    told = [(line.data["school"], line.data["students"]) for line in lines]
    assert told == [("Lincoln", 1), ("Lincoln", 1), ("district (no school)", 1)]


def by_hand(asset: dg.AssetsDefinition, instance: dg.DagsterInstance) -> dg.AssetMaterialization:
    instance.add_dynamic_partitions(DISTRICTS.name or "", [DISTRICT])
    result = dg.materialize(
        [asset],
        instance=instance,
        partition_key=DISTRICT,
        resources={"house": HouseResource()},
        selection=[asset],
    )
    assert result.success
    return events(instance, asset.key.to_user_string())[-1]


def test_the_views_can_be_materialised_by_hand_also_before_the_first_import(
    engine: Engine, settings: Settings
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        empty = by_hand(data_quality, instance)
        assert "There was no import yet" in str(empty.metadata["status"].value)
        assert by_hand(overview, instance).metadata["students"].value == 0
        book(engine, "held", rows=9)
        assert str(by_hand(data_quality, instance).metadata["status"].value).startswith("Held")


@pytest.mark.slow
def test_runs_that_merge_hold_refuse_and_undo_each_renew_the_views_once(
    roster: Command, home: Path, nothing_required: None, tmp_path: Path
) -> None:
    roster("district", "add", "oak", "--name", "Oak County")
    frames = district(300)
    whole = written(tmp_path, "whole", frames)
    half = written(tmp_path, "half", without_people(frames, students(frames)[:150]))
    short = tmp_path / "short.zip"
    short.write_bytes(whole.read_bytes()[:-5_000])

    codes = [roster("import", "oak", path).code for path in (whole, half, short)]
    codes.append(roster("undo", 1, "--reason", "all wrong").code)

    assert codes == [0, 3, 4, 0]
    with dg.DagsterInstance.get() as instance:
        told = [events(instance, view) for view in VIEWS]
        accepted = says(instance, checks.DELIVERY_IS_ACCEPTED, "oak")
        within = says(instance, WITHIN, "oak")
        later = says(instance, ADDS_UP, "oak")
    assert [len(events) for events in told] == [4, 4]
    statuses = [str(event.metadata["status"].value).split(".")[0] for event in told[0]]
    assert statuses == ["Imported", "Held: waits for a person", "Refused", "Imported"]
    assert [event.metadata["students"].value for event in told[1]] == [300, 300, 300, 0]
    for import_id in (1, 2, 3, 4):
        assert report_path(home / "reports", "oak", import_id).exists()
    assert not accepted.passed
    assert "cut short" in str(accepted.metadata["what to do"].value)
    assert "import 3 was refused before" in str(later.description)
    assert within.metadata["decided"].value == "Superseded by import 4."
    assert checks.WHAT_TO_DO not in within.metadata
    for import_id, says_now in ((1, "Undone"), (2, "Superseded")):
        assert says_now in report_path(home / "reports", "oak", import_id).read_text("utf-8")

    page = roster("show", 1, "--html")
    assert page.out.strip() == str(report_path(home / "reports", "oak", 1))
    elsewhere = tmp_path / "mine.html"
    assert roster("show", 1, elsewhere, "--html").code == 0
    assert "<h1>Import 1</h1>" in elsewhere.read_text(encoding="utf-8")
    assert roster("show", 1, elsewhere).code == 2
    deleted = roster("records", 2, "--type", "student", "--outcome", "deleted", "--format", "json")
    assert len(deleted.json()) == 150
    assert set(roster("records", 2, "--format", "json").json()[0]) == {
        *("enrollment_type", "source_id", "school", "file", "row", "outcome"),
    }


def test_a_delivery_is_accepted_unless_something_is_fatal() -> None:
    assert checks.evaluate_delivery(findings_frame(), 7).passed
    refused = checks.evaluate_delivery(findings_frame(REFUSED), 7)
    assert not refused.passed
    assert refused.severity is dg.AssetCheckSeverity.ERROR
    assert "It was cut short. Fill it in." in str(refused.metadata["what to do"].value)


def roster_of(left: int, filtered: int) -> Roster:
    students = pd.DataFrame({"source_id": [f"s-{number}" for number in range(left + filtered)]})
    students = students.assign(primary_school=None, file="users.csv", row=2)
    roster = Roster({"student": students, "course": empty_texts("source_id")})
    return roster.end("student", students.index >= left, "filtered")


@pytest.mark.parametrize(
    ("left", "filtered", "passed"), [(1, 3, True), (0, 3, False), (0, 0, True)]
)
def test_filters_that_leave_nothing_of_a_type_are_told(
    left: int, filtered: int, passed: bool
) -> None:
    result = checks.evaluate_filters(roster_of(left, filtered), 7)
    assert result.passed is passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert result.metadata["nothing left of"].value == ("" if passed else "student")


@pytest.mark.parametrize(
    ("planned", "active", "waits", "passed"),
    [(5, 5, False, True), (5, 6, False, False), (5, 4, False, False), (5, 6, True, True)],
)
def test_a_merge_must_leave_as_many_active_records_as_planned(
    planned: int, active: int, waits: bool, passed: bool
) -> None:
    result = checks.evaluate_merge("students", planned, active, deletions_wait=waits)
    assert result.passed is passed
    assert result.severity is dg.AssetCheckSeverity.ERROR
