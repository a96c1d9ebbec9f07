"""What is kept for how long, and that nothing goes that an undo or the next delivery needs.

Guards against the one way in which tidying up loses a roster: an effective set that is gone when a
later delta is to be applied to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, insert, select, update

from roster_pipeline.landing import retention
from roster_pipeline.landing.intake import archive_delivery, delivery_name, keep
from roster_pipeline.landing.retention import Item, Purge, decide, purge
from roster_pipeline.landing.store import Disk, ObjectStore, Store, store_at
from roster_pipeline.settings import KeepDays, Settings, load_settings
from roster_pipeline.warehouse import ledger, tables
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline.warehouse.lock import district_lock

OAK = "oak"
NOW = datetime.now(UTC).replace(microsecond=0)
"""Files that a test does not age are of this day."""
KEEP = KeepDays()


def days(number: float) -> datetime:
    return NOW - timedelta(days=number)


def aged(path: Path, number: float) -> Path:
    moment = days(number).timestamp()
    os.utime(path, (moment, moment))
    return path


# Deciding


def item(kind: retention.Kind, since: datetime, needed: str | None = None) -> Item:
    return Item(kind, OAK, ("x",), 1, 10, since, needed)


@pytest.mark.parametrize(
    ("kind", "number"),
    [("landing", 30), ("archive", 90), ("refused", 14), ("artifacts", 30), ("reports", 90)],
)
def test_each_kind_goes_after_its_own_days(kind: retention.Kind, number: int) -> None:
    items = [item(kind, days(number - 0.01)), item(kind, days(number))]
    assert [v.why for v in decide(items, KEEP, NOW)] == [f"not older than {number} days", "gone"]


def test_what_is_needed_stays_however_old() -> None:
    (verdict,) = decide([item("archive", days(9999), retention.WAITS)], KEEP, NOW)
    assert verdict.why == retention.WAITS


def test_the_report_adds_up_by_kind_and_outcome() -> None:
    verdicts = decide(
        [item("archive", days(99)), item("archive", days(98)), item("landing", days(1))], KEEP, NOW
    )
    done = Purge(tuple(verdicts), (), 7, KEEP, dry_run=False)
    assert [(x["what"], x["outcome"], x["files"], x["bytes"]) for x in done.lines()] == [
        ("landing zone", "not older than 30 days", 1, 10),
        ("archive", "gone", 2, 20),
        ("the landing zones' log", "gone", 7, 0),
    ]
    assert (done.gone("files"), done.gone("size")) == (2, 20)


# A house with an archive


def put_aged(store: Store, path: str, number: float, *names: str) -> None:
    """Put a thing with these empty files in a store, as one that was put there so many days ago."""
    with store.arriving(path.rpartition("/")[0]) as arriving:
        for name in names:
            (arriving / name).write_text("{}")
        store.put(arriving, path)
    age(store, path, number)


def age(store: Store, path: str, number: float) -> None:
    if isinstance(store, Disk):
        shelf, _, name = path.rpartition("/")
        for file in (store.root / path, store.root / shelf / f".{name}.kept"):
            if file.exists():
                aged(file, number)
    elif isinstance(store, ObjectStore):
        from moto.s3.models import s3_backends

        bucket, _, root = store.url.removeprefix("s3://").partition("/")
        (account,) = s3_backends.values()
        key = account["aws"].buckets[bucket].keys[f"{root}/{path}.zip"]
        key.last_modified = days(number).replace(tzinfo=None)


class House:
    """A home and its warehouse, in which imports are booked without being run."""

    def __init__(self, home: Path, **urls: str) -> None:
        self.settings: Settings = load_settings({"ROSTER_HOME": str(home), **urls})
        for folder in self.settings.folders:
            folder.mkdir(parents=True, exist_ok=True)
        self.engine: Engine = open_warehouse(self.settings.warehouse_url)
        self.zone = self.settings.landing / OAK
        self.zone.mkdir()
        self.archive = store_at(self.settings.archive_url)
        self.artifacts = store_at(self.settings.artifacts_url)

    def landed(self, number: float, **files: str) -> list[Path]:
        """Files that came so many days ago."""
        paths = []
        for name, text in files.items():
            path = self.zone / name.replace("__", ".")
            path.write_text(text)
            paths.append(aged(path, number))
        return paths

    def booked(
        self,
        paths: list[Path],
        status: ledger.Status = "imported",
        number: float = 200,
        effective: str | None = None,
    ) -> int:
        """An import that took these files so many days ago; with their archived copies of then."""
        delivery = archive_delivery(self.archive, OAK, paths)
        import_id = self.opened("sftp", number)
        with self.engine.begin() as conn:
            ledger.record_delivery(conn, import_id, delivery.path)
            if effective is not None:
                ledger.record_effective(conn, import_id, effective, [])
                put_aged(self.archive, f"{OAK}/effective/{effective}", number, "sources.json")
                keep(self.archive, delivery)
            ledger.finish_import(conn, import_id, status, days(number))
        age(self.archive, delivery.path, number)
        return import_id

    def opened(self, app: str, number: float) -> int:
        return ledger.start_import(self.engine, OAK, app, None, False, "s", days(number))

    def undone(self, import_id: int, number: float) -> None:
        """What `undo` writes into the books."""
        undo_id = self.opened(ledger.UNDO, number)
        with self.engine.begin() as conn:
            table = tables.imports
            taken = (table.c.id >= import_id) & (table.c.status == "imported")
            state = ledger.state_before(conn, OAK, import_id)
            conn.execute(update(table).where(taken).values(status="undone"))
            base = None if state is None else ledger.get_import(conn, state).effective_hash
            values = {"effective_hash": base, "state_of": state}
            conn.execute(update(table).where(table.c.id == undo_id).values(**values))
            ledger.finish_import(conn, undo_id, "imported", days(number))

    def shelf(self, name: str) -> set[str]:
        """The names of what is on a shelf of the archive."""
        things = self.archive.things(f"{OAK}/{name}")
        return {thing.path.rpartition("/")[2] for thing in things}

    def bases(self) -> set[str]:
        return self.shelf("effective")

    def purge(self, *, dry_run: bool = False, now: datetime = NOW) -> Purge:
        return purge(self.settings, self.engine, KEEP, now, dry_run=dry_run)

    def files(self) -> set[str]:
        """All that could go."""
        landed = {str(p) for p in self.settings.landing.rglob("*") if p.is_file()}
        shelves = [f"{OAK}/{shelf}" for shelf in ("deliveries", "effective", "refused")]
        archived = {thing.path for shelf in shelves for thing in self.archive.things(shelf)}
        return landed | archived | {thing.path for thing in self.artifacts.things(OAK)}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "home")
    yield house
    house.engine.dispose()


@pytest.fixture
def any_house(tmp_path: Path, store_url: str) -> Iterator[House]:
    """One with archive and artifacts on a disk, and one with both in an object store."""
    urls = {
        f"ROSTER_{name.upper()}_URL": f"{store_url}/{name}" for name in ("archive", "artifacts")
    }
    house = House(tmp_path / "home", **urls)
    yield house
    house.engine.dispose()


def whys(done: Purge, kind: str = "landing") -> dict[str, str]:
    return {Path(v.item.paths[0]).name: v.why for v in done.verdicts if v.item.kind == kind}


# Landing zones


def test_a_landing_file_that_was_imported_goes_after_its_days(house: House) -> None:
    house.booked(house.landed(31, OneRoster__zip="one"), number=31)
    assert whys(house.purge()) == {"OneRoster.zip": "gone"}
    assert list(house.zone.iterdir()) == []


def test_a_landing_file_that_no_import_has_taken_stays_and_is_told(house: House) -> None:
    house.booked(house.landed(40, OneRoster__zip="one"), number=40)
    house.landed(35, OneRoster__zip="another, which no import took")
    assert whys(house.purge()) == {"OneRoster.zip": retention.LEFT}
    assert (house.zone / "OneRoster.zip").exists()


@pytest.mark.parametrize("status", ["failed", "previewed"])
def test_an_import_that_came_to_nothing_has_not_taken_it(
    house: House, status: ledger.Status
) -> None:
    house.booked(house.landed(31, OneRoster__zip="one"), status, number=31)
    assert whys(house.purge()) == {"OneRoster.zip": retention.LEFT}


def test_files_of_one_delivery_stay_together_until_the_last_of_them_is_old(house: House) -> None:
    old = house.landed(99, orgs__csv="o")
    house.booked([*old, *house.landed(2, users__csv="u")], number=2)
    assert whys(house.purge()) == {"orgs.csv": "not older than 30 days"}
    assert len(list(house.zone.iterdir())) == 2


def test_of_other_files_only_uploads_that_were_given_up_go(house: House) -> None:
    stays = house.landed(99, readme__txt="r", Users__CSV="u")
    goes = house.landed(99, **{".upload-1": "x", "OneRoster.zip.filepart": "x"})
    new = house.landed(0.5, **{".upload-2": "x"})
    done = whys(house.purge())
    assert {done[p.name] for p in stays} == {retention.LEFT}
    assert {done[p.name] for p in goes} == {"gone"}
    assert {p.name for p in house.zone.iterdir()} == {p.name for p in [*stays, *new]}


def test_a_loose_file_that_lies_beside_a_zip_goes_if_it_was_taken_before_the_zip_came(
    house: House,
) -> None:
    orgs = house.landed(99, orgs__csv="o")
    import_id = house.booked(orgs, number=98)
    digest = "65c74c15a686187bb6bbf9958f494fc6b80068034a659a9ad44991b08c58f2d2"
    with house.engine.begin() as conn:
        entry = ledger.FileEntry("orgs.csv", "bulk", 1, digest)
        ledger.record_effective(conn, import_id, "h", [entry])
    house.landed(99, users__csv="never taken")
    house.booked(house.landed(1, OneRoster__zip="z"), number=1)
    assert whys(house.purge()) == {
        "OneRoster.zip": "not older than 30 days",
        "orgs.csv": "gone",
        "users.csv": retention.LEFT,
    }


def test_a_link_in_a_landing_zone_is_neither_followed_nor_removed(
    house: House, tmp_path: Path
) -> None:
    target = tmp_path / "secret"
    target.touch()
    aged(target, 99)
    (house.zone / "users.csv").symlink_to(target)
    (house.settings.landing / "elm").symlink_to(tmp_path)
    assert house.purge().verdicts == ()
    assert target.exists() and (house.zone / "users.csv").is_symlink()


# The archive


def test_of_old_imports_only_the_effective_sets_stay(any_house: House) -> None:
    for number, name in ((300, "a"), (200, "b"), (150, "c")):
        any_house.booked(
            any_house.landed(number, OneRoster__zip=name), number=number, effective=name
        )
    any_house.purge()
    assert any_house.bases() == {"a", "b", "c"}
    last = delivery_name_of(any_house, "c")
    assert any_house.shelf("deliveries") == {last}
    assert any_house.archive.is_marked(f"{OAK}/deliveries/{last}")


def delivery_name_of(house: House, text: str) -> str:
    path = house.settings.home / "OneRoster.zip"
    path.write_text(text)
    return delivery_name([path])


@pytest.mark.parametrize("status", ["held", "needs_school_mapping"])
def test_what_a_waiting_import_is_to_be_taken_from_stays(
    any_house: House, status: ledger.Status
) -> None:
    any_house.booked(any_house.landed(400, OneRoster__zip="a"), number=400, effective="a")
    any_house.booked(any_house.landed(300, OneRoster__zip="b"), status, 300, "b")
    any_house.purge()
    assert any_house.shelf("deliveries") == {delivery_name_of(any_house, name) for name in "ab"}
    assert any_house.bases() == {"a"}


def test_the_effective_set_of_a_rejected_import_goes_with_its_delivery(any_house: House) -> None:
    any_house.booked(any_house.landed(400, OneRoster__zip="a"), number=400, effective="a")
    any_house.booked(any_house.landed(300, OneRoster__zip="b"), "rejected", 300, "b")
    any_house.purge()
    assert any_house.bases() == {"a"}
    assert any_house.shelf("deliveries") == {delivery_name_of(any_house, "a")}


def test_a_delivery_that_came_again_lately_is_as_young_as_that(any_house: House) -> None:
    zipped = any_house.landed(300, OneRoster__zip="a")
    any_house.booked(zipped, "rejected", 300)
    import_id = any_house.opened("sftp", 10)
    name = delivery_name(zipped)
    with any_house.engine.begin() as conn:
        ledger.record_delivery(conn, import_id, f"{OAK}/deliveries/{name}")
        ledger.finish_import(conn, import_id, "rejected", days(10))
    any_house.purge()
    assert any_house.shelf("deliveries") == {name}


def test_refused_deliveries_have_days_of_their_own(any_house: House) -> None:
    any_house.booked(any_house.landed(1, OneRoster__zip="a"), number=1, effective="a")
    for name, number in (("old", 14), ("young", 13)):
        put_aged(any_house.archive, f"{OAK}/refused/{name}", number, "reason.json")
    assert whys(any_house.purge(), "refused") == {"old": "gone", "young": "not older than 14 days"}


def test_what_a_killed_import_left_behind_goes_too(house: House) -> None:
    house.booked(house.landed(1, OneRoster__zip="a"), number=1, effective="a")
    left = f"{OAK}/deliveries/.arriving-x"
    put_aged(house.archive, left, 91, "users.csv")
    house.purge()
    assert not house.archive.has(left)


def test_an_archive_of_which_the_warehouse_knows_nothing_is_left_alone(any_house: House) -> None:
    """Another ROSTER_WAREHOUSE_URL than usual must not cost an archive."""
    any_house.booked(any_house.landed(300, OneRoster__zip="a"), number=300, effective="a")
    with any_house.engine.begin() as conn:
        conn.execute(delete(tables.imports))
    before = any_house.files()
    done = any_house.purge()
    assert {v.why for v in done.verdicts if v.item.kind == "archive"} == {retention.NO_BOOKS}
    assert any_house.files() == before


def test_artifacts_go_as_wholes_also_of_a_district_whose_file_is_gone(any_house: House) -> None:
    for district, number in ((OAK, 29), ("elm", 31)):
        put_aged(any_house.artifacts, f"{district}/sync_plan", number, "meta.json", "a.parquet")
    any_house.purge()
    assert any_house.artifacts.has(f"{OAK}/sync_plan")
    assert any_house.artifacts.things("elm") == []


def test_a_report_goes_and_what_it_can_be_written_from_again_stays(house: House) -> None:
    folder = house.settings.reports / OAK / "outcomes"
    folder.mkdir(parents=True)
    outcomes = folder / "1.parquet"
    report = folder.parent / "import-1.html"
    for path in (outcomes, report):
        path.touch()
        aged(path, 91)
    house.purge()
    assert outcomes.exists() and not report.exists()


def test_what_was_fetched_from_a_server_of_the_districts_own_goes_like_what_landed(
    house: House,
) -> None:
    house.booked(house.landed(31, OneRoster__zip="one"), number=31)
    fetched = house.settings.fetched / OAK
    fetched.mkdir()
    for name in ("OneRoster.zip", "orgs.csv"):
        (fetched / name).write_text("one")
        aged(fetched / name, 31)
    house.purge()
    assert [p.name for p in fetched.iterdir()] == ["orgs.csv"], "which no import has taken"


def test_a_delivery_that_was_superseded_before_it_was_read_is_not_taken(house: House) -> None:
    house.booked(house.landed(31, OneRoster__zip="one"), "superseded", number=31)
    assert whys(house.purge()) == {"OneRoster.zip": retention.LEFT}


def test_the_log_of_the_landing_zones_goes_by_the_archives_days(house: House) -> None:
    with house.engine.begin() as conn:
        for number in (91, 90, 89):
            row = {"at": days(number), "district_id": OAK, "action": "login"}
            conn.execute(insert(tables.landing_log).values(**row))
    assert house.purge(dry_run=True).log_lines == 2
    assert house.purge().log_lines == 2
    with reading(house.engine) as conn:
        assert list(conn.scalars(select(tables.landing_log.c.at))) == [days(89)]


def test_a_district_whose_import_runs_is_not_touched_and_the_others_are(any_house: House) -> None:
    any_house.booked(any_house.landed(99, OneRoster__zip="a"), number=99, effective="a")
    put_aged(any_house.artifacts, "elm/sync_plan", 99, "meta.json")
    before = any_house.files()
    with district_lock(any_house.engine, OAK):
        done = any_house.purge()
    assert whys(done) == {"OneRoster.zip": retention.BUSY}
    assert any_house.files() == before
    assert not any_house.artifacts.has("elm/sync_plan")
    assert whys(any_house.purge()) == {"OneRoster.zip": "gone"}


def test_a_dry_run_says_what_would_go_and_leaves_it(any_house: House) -> None:
    any_house.booked(any_house.landed(99, OneRoster__zip="a"), number=99, effective="a")
    before = any_house.files()
    told = any_house.purge(dry_run=True)
    assert any_house.files() == before
    assert any_house.purge().verdicts == told.verdicts


def test_a_folder_that_cannot_be_read_is_told_and_the_others_are_purged(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for district in (OAK, "elm"):
        put_aged(house.artifacts, f"{district}/sync_plan", 99)

    def survey(settings: Settings, engine: Engine, district_id: str, *rest: object) -> list[Item]:
        if district_id == "elm":
            raise PermissionError(13, "Permission denied", "/x/elm")
        return original(settings, engine, district_id, *rest)  # type: ignore[arg-type]

    original = retention._survey
    monkeypatch.setattr(retention, "_survey", survey)
    done = house.purge()
    assert done.troubles == ("/x/elm: Permission denied",)
    assert house.artifacts.things(OAK) == []


def test_an_upload_that_comes_while_a_file_is_removed_is_not_lost(house: House) -> None:
    (path,) = house.landed(99, OneRoster__zip="old")
    goes = retention._item("landing", OAK, [path])
    path.write_text("new")
    retention._take_away(goes)
    assert path.read_text() == "new"


# Whatever the books say


STATUSES: list[ledger.Status] = [
    *("imported", "imported", "imported", "unchanged", "held", "needs_school_mapping"),
    *("refused", "rejected", "failed", "previewed"),
]
EVENT = st.one_of(
    st.tuples(st.sampled_from(STATUSES), st.integers(0, 5)),
    st.tuples(st.just("undo"), st.integers(0, 5)),
)


@pytest.fixture(scope="module")
def shared_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("retention") / "home")
    yield house
    house.engine.dispose()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(EVENT, min_size=1, max_size=9), later=st.integers(0, 400))
def test_whatever_happened_an_undo_and_the_next_delta_find_what_they_need_after_a_purge(
    shared_house: House, events: list[tuple[str, int]], later: int
) -> None:
    house = shared_house
    empty(house)
    for place, (what, which) in enumerate(events):
        number = 10.0 * (len(events) - place)
        if what == "undo":
            with reading(house.engine) as conn:
                able = merged(conn)
            if able:
                house.undone(able[which % len(able)], number)
            continue
        with_base = what not in ("refused", "unchanged", "failed")
        zipped = house.landed(number, OneRoster__zip=f"{which}")
        house.booked(zipped, what, number, f"base-{which}" if with_base else None)  # type: ignore[arg-type]
    now = NOW + timedelta(days=later)

    house.purge(now=now)

    left = house.files()
    house.purge(now=now)
    assert house.files() == left, "doing it again changes nothing"
    with reading(house.engine) as conn:
        last, waiting = ledger.last_accepted(conn, OAK), ledger.waiting_import(conn, OAK)
        if waiting is not None:
            assert house.archive.has(str(waiting.delivery))
        if last is not None:
            stands = ledger.stands_on(conn, last)
            assert stands.delivery is None or house.archive.has(stands.delivery)
        able = merged(conn)
    assert_bases(house)
    for import_id in able:
        with house.engine.begin() as conn:
            before = conn.execute(select(tables.imports)).mappings().all()
        house.undone(import_id, 0)
        assert_bases(house)
        with reading(house.engine) as conn:
            again = merged(conn)
        house.undone(again[-1], 0)
        assert_bases(house)
        with house.engine.begin() as conn:
            conn.execute(delete(tables.imports))
            conn.execute(insert(tables.imports), [dict(row) for row in before])


def merged(conn: Connection) -> list[int]:
    """The imports that can be undone."""
    return [i.id for i in reversed(ledger.imports(conn, OAK, None)) if i.status == "imported"]


def assert_bases(house: House) -> None:
    """The next delta finds what it is to be applied to."""
    with reading(house.engine) as conn:
        last = ledger.last_accepted(conn, OAK)
    if last is not None and last.effective_hash is not None:
        assert last.effective_hash in house.bases()


def empty(house: House) -> None:
    with house.engine.begin() as conn:
        conn.execute(delete(tables.imports))
    house.archive.clear(OAK)
