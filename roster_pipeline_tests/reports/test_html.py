"""An import's report: says in each state what happened and what to do, leads from every number to
its records, needs nothing but itself, and names nobody unless it was asked to."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sqlalchemy import Engine

from roster_pipeline.reports.html import (
    EACH,
    SHOWN_SCHOOLS,
    render_report,
    report_path,
    write_report,
)
from roster_pipeline.reports.quality import import_quality
from roster_pipeline.reports.statuses import STATUS_WORDS, WHAT_TO_DO
from roster_pipeline.stages.hold import Reason
from roster_pipeline.warehouse import holds, ledger, queries, results
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline.warehouse.tables import import_changes
from roster_pipeline_tests.reports.books import book, district_file, found, report
from roster_pipeline_tests.warehouse.plans import DISTRICT, MONDAY, plan, run_import


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_warehouse(f"sqlite:///{tmp_path}/warehouse.db")


class Page(HTMLParser):
    """A page's text, where its links lead, and what is there to be led to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.links, self.ids, self.tags = "", list[str](), list[str](), set[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("href", "src", "xlink:href", "action", "data"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def words(html: str) -> str:
    return re.sub(r"\s+", " ", Page(html).text)


def in_commands(status: ledger.Status) -> str:
    """What to do about import 1, as the page's text has it."""
    said = WHAT_TO_DO[status].replace("`", "")
    return said.replace("IMPORT", "1").replace(" ID", f" {DISTRICT}")


PEOPLE = plan(
    {
        "school": [("added", "1001", {"name": "Lake Ranch"})],
        "student": [
            ("added", f"s-{n}", {"first_name": "Jane", "last_name": "Smith"}) for n in range(1, 4)
        ],
    },
)


@pytest.mark.parametrize("status", list(STATUS_WORDS))
def test_each_status_is_said_in_words_with_what_to_do(
    engine: Engine, tmp_path: Path, status: ledger.Status
) -> None:
    html = report(engine, tmp_path, book(engine, status, rows=9))
    short, sentence = STATUS_WORDS[status]
    assert f"{short}. {sentence}" in words(html)
    assert f"What to do {in_commands(status)}" in words(html)
    assert f"Import 1 of Springfield Public Schools: {short}" in html


def test_it_needs_nothing_from_elsewhere(engine: Engine, tmp_path: Path) -> None:
    run_import(engine, PEOPLE)
    html = report(engine, tmp_path, book(engine, findings=[found("s-1")], rows=9, plan=PEOPLE))
    page = Page(html)
    assert page.links
    assert [link for link in page.links if not link.startswith("#")] == []
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "embed", "img", "base"})
    assert not re.search(r"url\(|@import|@font-face|\son\w+=|javascript:", html)
    addresses = set(re.findall(r"https?://[^\s\"'<]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg"}, "a namespace is no resource"


def test_every_number_leads_to_its_records(engine: Engine, tmp_path: Path) -> None:
    book(engine, findings=[found("s-9")], rows=9)
    what = plan(
        {"student": [("added", "s-1", {}), ("updated", "s-2", {})]}, kept=[("student", "x")]
    )
    findings = [found("s-3"), found("s-1", "gender_missing", "reported", row=3)]
    import_id = book(engine, findings=findings, rows=9, plan=what, reports=tmp_path / "reports")
    with engine.begin() as conn:
        conn.execute(
            import_changes.insert().values(
                import_id=import_id, enrollment_type="student", attribute="email", records=1
            )
        )
    page = Page(report(engine, tmp_path, import_id))
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    led_to = {link.removeprefix("#") for link in page.links}
    assert {f"records-student-{o}" for o in ("received", "added", "updated", "kept")} <= led_to
    assert {"rule-0", "rule-1"} <= led_to


def test_a_list_is_cut_short_and_says_what_shows_all_of_it(engine: Engine, tmp_path: Path) -> None:
    many = EACH + 1_475
    what = plan({"student": [("added", f"s-{n:05}", {}) for n in range(many)]})
    findings = [found(f"s-{n:05}", row=n + 2) for n in range(many)]
    import_id = book(engine, findings=findings, rows=many, plan=what, reports=tmp_path / "reports")
    html = report(engine, tmp_path, import_id)
    text = words(html)
    assert f"{EACH} of {many:,} are shown; all of them: roster findings 1" in text
    assert f"{EACH} of {many:,} are shown; all of them: roster records 1" in text
    assert f"s-{EACH - 1:05}" in html
    assert f"s-{EACH:05}" not in html
    assert len(html) < 60_000


def test_only_so_many_schools_are_shown_the_one_that_lost_most_first(
    engine: Engine, tmp_path: Path
) -> None:
    what = plan({"student": [("added", "s-1", {})]})
    rows = [("student", f"school-{n:03}", "added", 5) for n in range(SHOWN_SCHOOLS + 20)]
    rows += [("student", "school-077", "deleted", 9)]
    counts = what.counts.iloc[:0]
    for row in rows:
        counts.loc[len(counts)] = row
    import_id = book(engine, rows=9)
    with engine.begin() as conn:
        results.record_counts(conn, import_id, counts)
    text = words(report(engine, tmp_path, import_id))
    assert f"{SHOWN_SCHOOLS} of {SHOWN_SCHOOLS + 20} schools are shown" in text
    assert text.index("school-077 (no school)") < text.index("school-000 (no school)")
    assert "school-110" not in text


def test_names_from_files_are_text_and_not_markup(engine: Engine, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    run_import(
        engine,
        plan(
            {
                "school": [("added", "1001", {"name": f"{evil} School"})],
                "student": [
                    ("added", "s-1", {"first_name": evil, "primary_school": "1001"}),
                ],
            }
        ),
    )
    findings = [found("s-1", school="1001", message=f"The class {evil} has no teacher.")]
    findings += [found(f"{evil}&id", row=3, kind="class")]
    import_id = book(engine, findings=findings, rows=9, message=f"message {evil}")
    shown = "reports: {show_names: true}"
    html = report(engine, tmp_path, import_id, more=shown, name=f"District {evil}")
    assert "script" not in Page(html).tags
    assert evil not in html
    assert html.count("&lt;script&gt;") >= 6, "they were all there to be escaped"


def test_names_are_masked(engine: Engine, tmp_path: Path) -> None:
    run_import(engine, PEOPLE)
    import_id = book(engine, findings=[found("s-1")], rows=9)
    html = report(engine, tmp_path, import_id)
    assert "s-1 (J*** S****)" in words(html)
    assert "Names are masked." in words(html)
    assert "Jane" not in html
    assert "Smith" not in html


def test_names_are_shown_where_the_settings_ask_for_it(engine: Engine, tmp_path: Path) -> None:
    run_import(engine, PEOPLE)
    import_id = book(engine, findings=[found("s-1"), found("s-404", row=3)], rows=9)
    text = words(report(engine, tmp_path, import_id, more="reports: {show_names: true}"))
    assert "s-1 (Jane Smith)" in text
    assert "handle it as what it is" in text
    assert "s-404 (" not in text, "the warehouse never had her"


def test_what_a_refused_delivery_is_to_do_stands_at_the_top(engine: Engine, tmp_path: Path) -> None:
    fatal = found(
        None, "zip_damaged", "fatal", row=None, kind=None, message="OneRoster.zip was cut short."
    )
    text = words(report(engine, tmp_path, book(engine, "refused", [fatal])))
    assert "Why it was refused, and what to do OneRoster.zip was cut short." in text
    assert text.index("OneRoster.zip was cut short.") < text.index("Findings findings")
    for says in (
        "The import ended before its records were counted.",
        "The import ended before its files were read.",
        "No record was updated.",
        "The warehouse holds no active records of this district.",
    ):
        assert says in text


def test_a_held_import_says_why_and_how_to_decide(engine: Engine, tmp_path: Path) -> None:
    import_id = book(engine, "held", rows=9)
    with engine.begin() as conn:
        reasons = [Reason("delete", "It deletes 600 of 1,200 students (50.0 %).")]
        holds.record_hold(conn, import_id, "plan", reasons, ["users.csv is far shorter."], MONDAY)
    text = words(report(engine, tmp_path, import_id))
    assert "It deletes 600 of 1,200 students (50.0 %)." in text
    assert "users.csv is far shorter." in text
    assert f"roster approve {import_id} --reason" in text
    assert f"roster reject {import_id} --reason" in text


def test_a_decision_says_who_and_why_and_no_more_how_to_decide(
    engine: Engine, tmp_path: Path
) -> None:
    import_id = book(engine, "held", rows=9)
    with engine.begin() as conn:
        reasons = [Reason("delete", "It deletes 600 of 1,200 students (50.0 %).")]
        holds.record_hold(conn, import_id, "plan", reasons, [], MONDAY)
        holds.reject(conn, import_id, "ann", "half an export", MONDAY)
    text = words(report(engine, tmp_path, import_id))
    assert "It was held, and rejected by ann: half an export" in text
    assert "roster approve" not in text


def test_an_import_without_findings_says_so(engine: Engine, tmp_path: Path) -> None:
    text = words(report(engine, tmp_path, book(engine, rows=9)))
    assert "Nothing was found; every row went through as it is." in text
    assert "No record was left out for a fault." in text


def test_of_a_row_that_stands_twice_it_says_that_the_record_went_in(
    engine: Engine, tmp_path: Path
) -> None:
    told = [found("s-1", "record_repeated", "reported"), found("s-2", severity="reported")]
    text = words(report(engine, tmp_path, book(engine, findings=told, rows=9)))
    assert text.count("row left out, record went in") == 1
    assert text.replace("row left out, record went in", "").count("record went in") == 1


def test_the_time_is_the_districts_own(engine: Engine, tmp_path: Path) -> None:
    text = words(report(engine, tmp_path, book(engine)))
    assert "Sunday, 30 August 2026, 21:00:00 (America/Chicago)" in text


def test_a_district_whose_file_is_wrong_has_a_report_with_masked_names(
    engine: Engine, tmp_path: Path
) -> None:
    run_import(engine, PEOPLE)
    import_id = book(engine, findings=[found("s-1")], rows=9)
    text = words(report(engine, tmp_path, import_id, more="reports: {show_names: perhaps}"))
    assert "s-1 (J*** S****)" in text
    assert "(UTC)" in text


def test_what_fell_with_something_is_folded_to_its_cause(engine: Engine, tmp_path: Path) -> None:
    findings = [
        found(f"c-{n}", "school_id_missing", kind="class", cause="school/9", row=n)
        for n in range(2, 14)
    ]
    text = words(report(engine, tmp_path, book(engine, findings=findings, rows=20)))
    assert "1 school missing from orgs.csv: 12 classes" in text


def test_the_charts_can_be_read_without_seeing_them(engine: Engine, tmp_path: Path) -> None:
    run_import(engine, PEOPLE)
    html = report(engine, tmp_path, book(engine, rows=9))
    assert 'role="img" aria-labelledby="by-type-title by-type-desc"' in html
    assert "schools 1, students 3" in re.sub(r"\s+", " ", html)


def test_the_file_is_its_owners_alone_and_is_replaced_as_a_whole(
    engine: Engine, tmp_path: Path
) -> None:
    district_file(tmp_path / "districts")
    reports = tmp_path / "reports"
    import_id = book(engine, "held", rows=9)
    for status in ("held", "rejected"):
        with engine.begin() as conn:
            ledger.finish_import(conn, import_id, status, MONDAY)  # type: ignore[arg-type]
        with reading(engine) as conn:
            told = import_quality(conn, import_id)
            overview = queries.overview(conn, DISTRICT)
            html = render_report(conn, reports, tmp_path / "districts", told, overview, MONDAY)
        path = report_path(reports, DISTRICT, import_id)
        write_report(html, path)
    assert path == reports / DISTRICT / f"import-{import_id}.html"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert "Rejected" in path.read_text(encoding="utf-8")


def test_an_undo_leads_to_the_difference_it_made(engine: Engine, tmp_path: Path) -> None:
    first = book(engine, rows=9)
    what = plan({"student": [("restored", "s-1", {})]}, deleted=[("student", "s-2")])
    undo = book(engine, app=ledger.UNDO, plan=what)
    text = words(report(engine, tmp_path, undo))
    assert f"roster diff {first} {undo}" in text
    assert "undo of earlier imports" in text
