"""The floor: what an import costs at least. `python -m benchmarks.floor OneRoster.zip floor.duckdb`

A bare DuckDB script that does with the same zip what cannot be left out: unpacks and reads all
files, checks required values, uniqueness and references of every enrollment type, compares what
is left with the records that the database file holds from before, and stores the difference in one
transaction. It tells nobody which row is wrong or why, keeps no history, no artifacts and no books,
and knows no settings: the roles, requirements and domains of uniqueness are the defaults, in SQL.

Prints JSON: `seconds` by stage (open, unpack, read, check, diff, store), their sum `work` (from the
first byte read to the database closed; DuckDB itself is imported before) and `counts` by
enrollment type: received, rejected, added, updated, unchanged, deleted.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

FILES = ("academicSessions", "classes", "courses", "demographics", "enrollments", "orgs", "users")
PEOPLE = ("student", "teacher", "admin")


@dataclass(frozen=True)
class Type:
    """One enrollment type in SQL.

    rows: which rows of the file are of it. columns: what is stored, beside sourcedId. required:
    what may not be null. references: a column, and the types one of which must hold its value (of
    a list, one of its values).
    """

    file: str
    columns: str
    required: tuple[str, ...]
    rows: str = "true"
    references: tuple[tuple[str, tuple[str, ...]], ...] = ()


def _person(role: str, *required: str, more: str = "") -> Type:
    columns = (
        "role, split_part(orgSourcedIds, ',', 1) AS primary_school, orgSourcedIds, username, "
        "givenName, middleName, familyName, email, identifier, enabledUser = 'true' AS enabled"
    )
    needed = ("sourcedId", "role", "orgSourcedIds", *required)
    return Type("users", columns + more, needed, role, (("primary_school", ("school", "org")),))


_NAMED = ("givenName", "familyName", "email")
TYPES = {
    "school": Type(
        "orgs", "name, identifier, parentSourcedId", ("sourcedId", "name"), "type = 'school'"
    ),
    "academic_session": Type(
        "academicSessions",
        "title, type, startDate::DATE AS startDate, endDate::DATE AS endDate, parentSourcedId, "
        "schoolYear",
        ("sourcedId", "title", "type", "startDate", "endDate", "schoolYear"),
    ),
    "course": Type(
        "courses",
        "title, courseCode, grades, orgSourcedId, schoolYearSourcedId, subjects, subjectCodes",
        ("sourcedId", "title", "orgSourcedId"),
        references=(("orgSourcedId", ("school", "org")),),
    ),
    "student": _person(
        "role = 'student'",
        *(*_NAMED, "grades"),
        more=", grades, birthDate::DATE AS birthDate, sex, agentSourcedIds",
    ),
    "teacher": _person("role IN ('teacher', 'aide', 'proctor', 'counselor')", *_NAMED),
    "admin": _person("role IN ('administrator', 'principal')", *_NAMED),
    "contact": _person("role IN ('parent', 'guardian', 'relative')", more=", agentSourcedIds"),
    "class": Type(
        "classes",
        "title, classCode, classType, schoolSourcedId, courseSourcedId, termSourcedIds, grades, "
        "subjects, subjectCodes, periods, location",
        ("sourcedId", "title", "classType", "schoolSourcedId", "courseSourcedId", "termSourcedIds"),
        references=(
            ("schoolSourcedId", ("school",)),
            ("courseSourcedId", ("course",)),
            ("termSourcedIds", ("academic_session",)),
        ),
    ),
    "enrollment": Type(
        "enrollments",
        "schoolSourcedId, classSourcedId, userSourcedId, role, \"primary\" = 'true' AS is_primary, "
        "beginDate::DATE AS beginDate, endDate::DATE AS endDate",
        ("sourcedId", "schoolSourcedId", "classSourcedId", "userSourcedId", "role"),
        references=(
            ("schoolSourcedId", ("school",)),
            ("classSourcedId", ("class",)),
            ("userSourcedId", (*PEOPLE, "contact")),
        ),
    ),
}
"""In the order in which references lead."""
LISTS = ("termSourcedIds",)


class Floor:
    """One pass over one delivery, and the time of its stages."""

    def __init__(self, database: Path) -> None:
        self.seconds: dict[str, float] = {}
        with self.stage("open"):
            self.conn = duckdb.connect(str(database))
            self.conn.execute("SET preserve_insertion_order = false")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0) + time.perf_counter() - started

    def read(self, folder: Path) -> None:
        """Every file as texts, blank as null."""
        for file in FILES:
            self.conn.execute(
                f"CREATE TEMP TABLE raw_{file} AS SELECT * FROM read_csv('{folder}/{file}.csv', "
                "header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"')"
            )
        self.conn.execute(
            "CREATE TEMP TABLE accepted_org AS "
            "SELECT sourcedId FROM raw_orgs WHERE type != 'school'"
        )

    def check(self) -> None:
        """`accepted_<type>`: the records that may be stored, with a hash over what they say."""
        for file in FILES:
            self.conn.execute(
                f"CREATE TEMP TABLE repeated_{file} AS SELECT sourcedId FROM raw_{file} "
                "GROUP BY 1 HAVING count(*) > 1"
            )
        for name in TYPES:
            if name == "student":
                self._find_shared_emails()
            self._accept(name)
        people = self._ids((*PEOPLE, "contact"))
        for name in ("student", "contact"):
            self._one(
                "SELECT count(*) FROM (SELECT unnest(string_split(agentSourcedIds, ',')) AS named "
                f"FROM accepted_{name}) ANTI JOIN ({people}) ON named = id"
            )

    def _find_shared_emails(self) -> None:
        """`complete_<type>` of the people who may share no address, and the addresses they do."""
        for name in PEOPLE:
            self.conn.execute(f"CREATE TEMP TABLE complete_{name} AS {self._complete(name)}")
        everyone = " UNION ALL ".join(
            f"SELECT lower(trim(email)) AS address FROM complete_{name}" for name in PEOPLE
        )
        self.conn.execute(
            f"CREATE TEMP TABLE shared AS SELECT address FROM ({everyone}) "
            "GROUP BY 1 HAVING count(*) > 1"
        )

    def _complete(self, name: str) -> str:
        """The rows of a type that have all required values, and an id of their own."""
        kind = TYPES[name]
        rows = f"raw_{kind.file}"
        if name == "student":
            rows += " LEFT JOIN (SELECT sourcedId, birthDate, sex FROM raw_demographics) "
            rows += "USING (sourcedId)"
        needed = " AND ".join(f"{column} IS NOT NULL" for column in kind.required)
        return (
            f"SELECT sourcedId, {kind.columns} FROM {rows} "
            f"ANTI JOIN repeated_{kind.file} USING (sourcedId) WHERE {kind.rows} AND {needed}"
        )

    def _accept(self, name: str) -> None:
        """Of the complete records, those whose references lead to an accepted one."""
        complete = f"complete_{name}" if name in PEOPLE else f"({self._complete(name)})"
        joins = []
        for column, targets in TYPES[name].references:
            living = self._ids(targets)
            if column in LISTS:
                each = f"SELECT sourcedId, unnest(string_split({column}, ',')) AS id"
                living = f"SELECT sourcedId FROM ({each} FROM {complete}) SEMI JOIN ({living}) "
                joins.append(f"SEMI JOIN ({living} USING (id)) USING (sourcedId)")
            else:
                joins.append(f"SEMI JOIN ({living}) ON c.{column} = id")
        if name in PEOPLE:
            joins.append("ANTI JOIN shared ON lower(trim(c.email)) = address")
        self.conn.execute(
            f"CREATE TEMP TABLE accepted_{name} AS SELECT c.*, hash(c) AS record_hash "
            f"FROM {complete} c {' '.join(joins)}"
        )

    def _ids(self, types: tuple[str, ...]) -> str:
        return " UNION ALL ".join(f"SELECT sourcedId AS id FROM accepted_{t}" for t in types)

    def diff(self, name: str) -> dict[str, int]:
        """Compare with what is stored, and note which records are to be written."""
        kind = TYPES[name]
        self.conn.execute(
            f"CREATE TABLE IF NOT EXISTS {name}s AS SELECT * FROM accepted_{name} LIMIT 0"
        )
        self.conn.execute(
            f"CREATE TEMP TABLE written_{name} AS SELECT sourcedId, before.record_hash IS NOT NULL "
            f"AS known FROM accepted_{name} a LEFT JOIN {name}s before USING (sourcedId) "
            "WHERE before.record_hash IS DISTINCT FROM a.record_hash"
        )
        self.conn.execute(
            f"CREATE TEMP TABLE deleted_{name} AS SELECT sourcedId FROM {name}s "
            f"ANTI JOIN raw_{kind.file} USING (sourcedId)"
        )
        received = self._one(f"SELECT count(*) FROM raw_{kind.file} WHERE {kind.rows}")
        accepted = self._one(f"SELECT count(*) FROM accepted_{name}")
        updated = self._one(f"SELECT count(*) FROM written_{name} WHERE known")
        added = self._one(f"SELECT count(*) FROM written_{name} WHERE NOT known")
        return {
            "received": received,
            "rejected": received - accepted,
            "added": added,
            "updated": updated,
            "unchanged": accepted - added - updated,
            "deleted": self._one(f"SELECT count(*) FROM deleted_{name}"),
        }

    def store(self, name: str) -> None:
        """Write the difference."""
        self.conn.execute(
            f"DELETE FROM {name}s WHERE sourcedId IN (SELECT sourcedId FROM written_{name} "
            f"WHERE known UNION ALL SELECT sourcedId FROM deleted_{name})"
        )
        self.conn.execute(
            f"INSERT INTO {name}s SELECT a.* FROM accepted_{name} a "
            f"SEMI JOIN written_{name} USING (sourcedId)"
        )

    def _one(self, query: str) -> int:
        row = self.conn.execute(query).fetchone()
        assert row is not None
        return int(row[0])


def run(package: Path, database: Path) -> dict[str, Any]:
    """Take a delivery into a database file, new or from an earlier pass."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        floor = Floor(database)
        with floor.stage("unpack"), zipfile.ZipFile(package) as archive:
            archive.extractall(folder)
        with floor.stage("read"):
            floor.read(Path(folder))
        with floor.stage("check"):
            floor.check()
        floor.conn.execute("BEGIN")
        counts = {}
        for name in TYPES:
            with floor.stage("diff"):
                counts[name] = floor.diff(name)
            with floor.stage("store"):
                floor.store(name)
        with floor.stage("store"):
            floor.conn.execute("COMMIT")
            floor.conn.close()
    work = time.perf_counter() - started
    return {"work": work, "seconds": floor.seconds, "counts": counts}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]))))
