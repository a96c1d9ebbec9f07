"""Damages a clean district in named ways, and tells exactly which rows it damaged.

A planted fault yields its own findings and no others: what would follow from it (say, the
enrollments of a student who will be skipped) is taken away beforehand, and no record is damaged
twice. Each fault is one small function in `FAULTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from roster_pipeline.oneroster.standard import VERSIONS
from roster_pipeline.oneroster.writer import csv_bytes


class PlantedRow(NamedTuple):
    """A damaged row: the file, the row as a spreadsheet shows it (the header is 1), the id."""

    file: str
    row: int
    source_id: str


@dataclass(frozen=True)
class PlantedFault:
    """What was planted under one name.

    code: of the findings it must yield. count: how many of them. rows: where, one a finding.
    """

    name: str
    code: str
    count: int
    rows: tuple[PlantedRow, ...]


@dataclass(frozen=True)
class Delivery:
    """A damaged district, ready for `oneroster.writer.write_package`.

    replaced: whole files, by name without `.csv`, where a fault is one that no frame can hold.
    """

    frames: dict[str, pd.DataFrame]
    replaced: dict[str, bytes]
    planted: tuple[PlantedFault, ...]


@dataclass
class _Draft:
    """A delivery while it is being damaged.

    Frames keep the labels of their rows, so that a row is still found when others have gone.
    damaged: labels by file. persons: ids of users with a fault of any kind. short_rows: labels
    of enrollments that are to be written without their last field.
    """

    frames: dict[str, pd.DataFrame]
    rng: np.random.Generator
    damaged: dict[str, set[int]] = field(default_factory=dict)
    persons: set[str] = field(default_factory=set)
    short_rows: list[int] = field(default_factory=list)

    def choose(self, what: str, file: str, candidates: pd.DataFrame, count: int) -> pd.Index[int]:
        """Random undamaged rows of a file, which count as damaged from now on."""
        damaged = self.damaged.setdefault(file, set())
        free = candidates.index.difference(pd.Index(sorted(damaged), dtype="int64"))
        if len(free) < count:
            raise ValueError(
                f"{what} needs {count} rows of {file}.csv, but the district has only {len(free)} "
                "that fit and carry no other fault; make it larger or plant fewer faults."
            )
        chosen: pd.Index[int] = pd.Index(
            np.sort(self.rng.choice(free.to_numpy(), count, replace=False))
        )
        damaged.update(chosen)
        return chosen

    def choose_students(self, what: str, count: int) -> pd.Index[int]:
        """Random students without a fault, no two of the same name."""
        users = self.frames["users"]
        students = users.loc[(users["role"] == "student") & ~users["sourcedId"].isin(self.persons)]
        students = students.drop_duplicates(["givenName", "familyName"])
        chosen = self.choose(what, "users", students, count)
        self.persons.update(users.loc[chosen, "sourcedId"])
        return chosen

    def choose_enrollments(self, what: str, count: int) -> pd.Index[int]:
        """Random enrollments of students; teachers stay, so that no class is without one."""
        enrollments = self.frames["enrollments"]
        students = enrollments.loc[enrollments["role"] == "student"]
        return self.choose(what, "enrollments", students, count)

    def set(self, file: str, rows: pd.Index[int], header: str, value: Any) -> None:
        """Writes a value (or an array of them) into a column of those rows."""
        self.frames[file].loc[rows, header] = value

    def remove(self, file: str, header: str, values: Iterable[str]) -> None:
        """Removes the rows of a file whose column has one of the values."""
        frame = self.frames[file]
        self.frames[file] = frame.loc[~frame[header].isin(list(values))]

    def release(self, students: pd.Index[int]) -> None:
        """Removes what names these students: their enrollments, and them as somebody's agents."""
        users = self.frames["users"]
        ids = users.loc[students, "sourcedId"]
        self.remove("enrollments", "userSourcedId", ids)
        agents = users["agentSourcedIds"].dropna().str.split(",").explode()
        named = agents.isin(ids)
        rows = agents.index[named].unique()
        left = agents[agents.index.isin(rows) & ~named]
        users.loc[rows, "agentSourcedIds"] = left.groupby(level=0).agg(",".join).reindex(rows)

    def append(self, file: str, rows: pd.DataFrame) -> pd.Index[int]:
        """Adds rows at the end of a file; returns their labels."""
        frame = self.frames[file]
        labels = pd.Index(range(int(frame.index.max()) + 1, frame.index.max() + 1 + len(rows)))
        self.frames[file] = pd.concat([frame, rows.set_axis(labels)])
        self.damaged.setdefault(file, set()).update(labels)
        return labels


Plant = Callable[[_Draft, str, int], tuple[str, "pd.Index[int]"]]


@dataclass(frozen=True)
class Fault:
    """A way to damage a district.

    code: of the findings it yields. plant: takes a draft, the fault's name and how often to plant
    it; returns the file and the labels of the rows with a finding.
    """

    code: str
    plant: Plant


FAULTS: dict[str, Fault] = {}
"""By name, in the order in which they are planted: those that take records away come first."""


def _fault(code: str) -> Callable[[Plant], Plant]:
    def register(plant: Plant) -> Plant:
        FAULTS[plant.__name__] = Fault(code, plant)
        return plant

    return register


@_fault("source_id_repeated")
def repeated_id(draft: _Draft, name: str, count: int) -> tuple[str, pd.Index[int]]:
    """Pairs of students with one sourcedId. Each planting yields two findings."""
    students = draft.choose_students(name, 2 * count)
    draft.release(students)
    ids = draft.frames["users"].loc[students, "sourcedId"]
    draft.remove("demographics", "sourcedId", ids)
    draft.set("users", students[1::2], "sourcedId", ids[::2].to_numpy())
    return "users", students


@_fault("email_missing")
def missing_email(draft: _Draft, name: str, count: int) -> tuple[str, pd.Index[int]]:
    """Students without an e-mail address."""
    students = draft.choose_students(name, count)
    draft.release(students)
    draft.set("users", students, "email", None)
    return "users", students


@_fault("last_name_missing")
def missing_last_name(draft: _Draft, name: str, count: int) -> tuple[str, pd.Index[int]]:
    """Students without a family name."""
    students = draft.choose_students(name, count)
    draft.release(students)
    draft.set("users", students, "familyName", None)
    return "users", students


@_fault("email_duplicate")
def duplicate_email(draft: _Draft, name: str, count: int) -> tuple[str, pd.Index[int]]:
    """Pairs of students with one e-mail address, the second in capitals. Each planting yields two
    findings."""
    students = draft.choose_students(name, 2 * count)
    draft.release(students)
    emails = draft.frames["users"].loc[students[::2], "email"]
    draft.set("users", students[1::2], "email", emails.str.upper().to_numpy())
    return "users", students


@_fault("birth_date_missing")
def missing_birth_date(draft: _Draft, name: str, count: int) -> tuple[str, pd.Index[int]]:
    """Demographics without a birth date. Only reported: the student and all of hers stay."""
    demographics = draft.frames["demographics"]
    free = demographics.loc[~demographics["sourcedId"].isin(draft.persons)]
    rows = draft.choose(name, "demographics", free, count)
    draft.persons.update(demographics.loc[rows, "sourcedId"])
    draft.set("demographics", rows, "birthDate", None)
    return "demographics", rows


@_fault("school_id_unknown")
def unknown_school(draft: _Draft, name: str, count: int) -> tuple[str, pd.Index[int]]:
    """Classes of a school that is not in orgs.csv; their enrollments are taken away."""
    classes = draft.frames["classes"]
    rows = draft.choose(name, "classes", classes.loc[classes["classType"] == "scheduled"], count)
    draft.remove("enrollments", "classSourcedId", classes.loc[rows, "sourcedId"])
    draft.set("classes", rows, "schoolSourcedId", _unknown("9", count))
    return "classes", rows


@_fault("class_id_unknown")
def unknown_class(draft: _Draft, name: str, count: int) -> tuple[str, pd.Index[int]]:
    """Enrollments in a class that is not in classes.csv."""
    rows = draft.choose_enrollments(name, count)
    draft.set("enrollments", rows, "classSourcedId", _unknown("9999_", count))
    return "enrollments", rows


@_fault("person_id_unknown")
def unknown_person(draft: _Draft, name: str, count: int) -> tuple[str, pd.Index[int]]:
    """Enrollments of a person who is not in users.csv."""
    rows = draft.choose_enrollments(name, count)
    draft.set("enrollments", rows, "userSourcedId", _unknown("X", count))
    return "enrollments", rows


@_fault("value_dropped")
def bad_date(draft: _Draft, name: str, count: int) -> tuple[str, pd.Index[int]]:
    """Enrollments that begin on a day no calendar has. Only reported."""
    rows = draft.choose_enrollments(name, count)
    draft.set("enrollments", rows, "beginDate", "2026-02-30")
    return "enrollments", rows


@_fault("record_repeated")
def repeated_row(draft: _Draft, name: str, count: int) -> tuple[str, pd.Index[int]]:
    """Enrollments that stand a second time, exactly equal, at the end of the file. The rows told
    are those second ones."""
    rows = draft.choose_enrollments(name, count)
    return "enrollments", draft.append("enrollments", draft.frames["enrollments"].loc[rows])


@_fault("row_ragged")
def ragged_row(draft: _Draft, name: str, count: int) -> tuple[str, pd.Index[int]]:
    """Enrollments written without their last field."""
    rows = draft.choose_enrollments(name, count)
    draft.short_rows.extend(rows)
    return "enrollments", rows


DEMO_FAULTS: Mapping[str, int] = {
    "repeated_id": 1,
    "missing_email": 4,
    "missing_last_name": 2,
    "duplicate_email": 2,
    "missing_birth_date": 3,
    "unknown_school": 1,
    "unknown_class": 3,
    "unknown_person": 2,
    "bad_date": 4,
    "repeated_row": 3,
    "ragged_row": 2,
}
"""A few of each kind, as many as a district of 300 students has room for."""


def plant_faults(
    frames: Mapping[str, pd.DataFrame], faults: Mapping[str, int], seed: int = 1
) -> Delivery:
    """A copy of a clean district with faults.

    frames: from `make_district`; they stay as they are. faults: by name (see FAULTS), how often
    to plant each. `duplicate_email` and `repeated_id` plant pairs, so they yield two findings
    each time. The same arguments always give the same delivery.

    ValueError: no such fault, a negative number, or too small a district.
    """
    for name, count in faults.items():
        if name not in FAULTS:
            raise ValueError(f"No fault is called {name!r}; there are {', '.join(FAULTS)}.")
        if count < 0:
            raise ValueError(f"{name} cannot be planted {count} times.")
    draft = _Draft(
        {file: frame.reset_index(drop=True) for file, frame in frames.items()},
        np.random.default_rng(seed),
    )
    planted = [
        (name, fault.code, *fault.plant(draft, name, faults[name]))
        for name, fault in FAULTS.items()
        if faults.get(name)
    ]
    return Delivery(
        {file: frame.reset_index(drop=True) for file, frame in draft.frames.items()},
        {"enrollments": _with_short_rows(draft)} if draft.short_rows else {},
        tuple(
            PlantedFault(name, code, len(rows), _places(draft.frames[file], file, rows))
            for name, code, file, rows in planted
        ),
    )


def _unknown(prefix: str, count: int) -> list[str]:
    """Ids that no district of ours has, each another, so that each is a cause of its own."""
    return [f"{prefix}{number}" for number in range(900_001, 900_001 + count)]


def _places(frame: pd.DataFrame, file: str, rows: pd.Index[int]) -> tuple[PlantedRow, ...]:
    positions = frame.index.get_indexer(rows)
    ids = frame["sourcedId"].iloc[positions]
    return tuple(
        PlantedRow(f"{file}.csv", int(position) + 2, str(source_id))
        for position, source_id in zip(positions, ids, strict=True)
    )


def _with_short_rows(draft: _Draft) -> bytes:
    """enrollments.csv with the last field cut from some lines. No enrollment holds a comma or a
    line break within a field, so a line is a row and its last comma begins its last field."""
    enrollments = draft.frames["enrollments"]
    lines = csv_bytes(enrollments, VERSIONS["1.1"], "enrollments").split(b"\n")
    for position in enrollments.index.get_indexer(pd.Index(draft.short_rows)):
        lines[position + 1] = lines[position + 1].rpartition(b",")[0]
    return b"\n".join(lines)
