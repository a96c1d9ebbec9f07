"""The quality of a delivery: a score by rows, and what is new and gone since the import before."""

from __future__ import annotations

from sqlalchemy import Engine

from roster_pipeline.findings import FINDING_COLUMNS
from roster_pipeline.warehouse import ledger, results
from roster_pipeline.warehouse.database import reading
from roster_pipeline_tests.reports.books import book, found, quality
from roster_pipeline_tests.warehouse.plans import DISTRICT, MONDAY


def test_the_score_is_the_share_of_rows_without_any_finding(warehouse: Engine) -> None:
    findings = [
        found("s-1", row=2),
        found("s-1", "gender_missing", "reported", row=2),
        found("s-2", "gender_missing", "reported", row=3),
        found(None, "file_ignored", "reported", row=None, kind=None),
    ]
    told = quality(warehouse, book(warehouse, findings=findings, rows=40))
    assert (told.rows, told.rows_left_out, told.rows_told) == (40, 1, 1)
    assert told.score == 95.0
    assert told.findings == 4


def test_a_row_that_stands_twice_is_left_out_as_in_the_counts(warehouse: Engine) -> None:
    findings = [found("s-1", "record_repeated", "reported", row=3)]
    told = quality(warehouse, book(warehouse, findings=findings, rows=40))
    assert (told.rows_left_out, told.rows_told, told.score) == (1, 0, 97.5)


def test_a_delivery_without_findings_has_the_best_score(warehouse: Engine) -> None:
    told = quality(warehouse, book(warehouse, rows=40))
    assert (told.score, told.findings, told.new, told.gone) == (100.0, 0, 0, 0)


def test_a_delivery_that_was_refused_or_not_looked_at_whole_scores_nothing(
    warehouse: Engine,
) -> None:
    refused = [found(None, "zip_damaged", "fatal", row=None, kind=None)]
    assert quality(warehouse, book(warehouse, "refused", refused)).score == 0.0
    assert quality(warehouse, book(warehouse, "failed", rows=40)).score == 0.0


def test_what_is_new_and_what_is_gone_is_told_by_record_not_by_row(warehouse: Engine) -> None:
    first = book(warehouse, findings=[found("s-1", row=2), found("s-2", row=3)], rows=9)
    second = book(
        warehouse,
        findings=[
            found("s-2", row=2),
            found("s-3", row=3),
            found("s-3", "gender_missing", "reported"),
            found(None, "file_ignored", "reported", row=None, kind=None),
        ],
        rows=9,
    )
    assert quality(warehouse, first).before is None
    told = quality(warehouse, second)
    assert told.before == first
    by_code = told.rules.set_index("code")
    assert by_code.loc["email_missing", ["findings", "new", "gone"]].tolist() == [2, 1, 1]
    assert by_code.loc["gender_missing", ["findings", "new", "gone"]].tolist() == [1, 1, 0]
    assert by_code.loc["file_ignored", ["findings", "new", "gone"]].tolist() == [1, 1, 0]
    assert (told.new, told.gone) == (3, 1)


def test_a_rule_that_finds_nothing_any_more_is_told_as_gone(warehouse: Engine) -> None:
    book(warehouse, findings=[found("s-1"), found("s-2")], rows=9)
    told = quality(warehouse, book(warehouse, rows=9))
    assert told.rules[["code", "findings", "new", "gone"]].to_dict("records") == [
        {"code": "email_missing", "findings": 0, "new": 0, "gone": 2}
    ]


def test_the_weightiest_findings_come_first(warehouse: Engine) -> None:
    findings = [
        found("s-1", "gender_missing", "reported"),
        found("s-2", "gender_missing", "reported"),
        found("s-3"),
        found("s-4", "sis_id_missing"),
        found("s-5", "sis_id_missing"),
    ]
    told = quality(warehouse, book(warehouse, findings=findings, rows=9))
    assert list(told.rules["code"]) == ["sis_id_missing", "email_missing", "gender_missing"]


def test_it_is_compared_with_the_last_delivery_that_was_looked_at_whole(warehouse: Engine) -> None:
    base = book(warehouse, findings=[found("s-1")], rows=9)
    book(warehouse, "refused")
    book(warehouse, "failed", rows=9)
    book(warehouse, "previewed", rows=9, preview=True)
    book(warehouse, "superseded")
    book(warehouse, "undone", findings=[found("s-2")], rows=9)
    assert quality(warehouse, book(warehouse, rows=9)).before == base


def test_an_undo_has_the_quality_of_the_delivery_whose_state_it_gave_back(
    warehouse: Engine,
) -> None:
    first = book(warehouse, findings=[found("s-1")], rows=10)
    book(warehouse, findings=[found("s-1"), found("s-2", row=3)], rows=10)
    undo = book(warehouse, app=ledger.UNDO)
    with warehouse.begin() as conn:
        ledger._update(conn, undo, state_of=first)
    told = quality(warehouse, undo)
    assert (told.score, told.findings, told.before) == (90.0, 1, None)


def test_the_newest_import_is_the_one_of_the_highest_number_that_has_ended(
    warehouse: Engine,
) -> None:
    with reading(warehouse) as conn:
        assert ledger.newest_ended(conn, DISTRICT) is None
    book(warehouse, days=9)
    refused = book(warehouse, "refused", days=1)
    book(warehouse, "superseded", days=20)
    ledger.start_import(warehouse, DISTRICT, "sftp", None, False, "", MONDAY)
    with reading(warehouse) as conn:
        newest = ledger.newest_ended(conn, DISTRICT)
    assert newest is not None
    assert newest.id == refused


def test_the_first_findings_of_each_kind_come_in_their_order(warehouse: Engine) -> None:
    findings = [found(f"s-{n}", row=n) for n in range(2, 9)]
    findings += [found(None, "file_ignored", "reported", row=None, kind=None)]
    import_id = book(warehouse, findings=findings, rows=9)
    with reading(warehouse) as conn:
        first = results.first_findings(conn, import_id, 3)
    assert list(first["code"]) == ["email_missing"] * 3 + ["file_ignored"]
    assert list(first["row"].head(3)) == [2, 3, 4]
    assert list(first) == list(FINDING_COLUMNS)
