"""Rules that span rows and files: they are told, and nothing is rejected for them."""

from __future__ import annotations

import pandas as pd
import pytest

from roster_pipeline_tests.oneroster.packages import contents
from roster_pipeline_tests.oneroster.test_delivery import parsed
from roster_pipeline_tests.stages.passage import Frames, added, changed, small_district, told


def with_primaries(*spans: tuple[str | None, str | None], same: bool = False) -> Frames:
    """Class m1 with a primary teacher for each span of days; tess for all, or others too."""
    frames = small_district()
    for number, (begin, end) in enumerate(spans):
        frames = added(
            frames,
            "enrollments",
            "e4",
            sourcedId=f"p{number}",
            userSourcedId="tess" if same or number == 0 else "tom",
            primary="true",
            beginDate=begin,
            endDate=end,
        )
    return frames


def clashes(frames: Frames) -> list[str | None]:
    outcome = parsed(contents(frames))
    assert outcome.roster.ended.empty
    assert set(outcome.findings["code"]) <= {"several_primary_teachers"}
    assert set(outcome.findings["severity"]) <= {"reported"}
    return [source_id for _, source_id, _, _ in told(outcome.findings)]


AUTUMN, SPRING = ("2026-08-20", "2026-12-20"), ("2026-12-20", "2027-06-10")


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        pytest.param([AUTUMN], [], id="one"),
        pytest.param([AUTUMN, SPRING], [], id="one after the other"),
        pytest.param([AUTUMN, AUTUMN], ["p0", "p1"], id="at the same time"),
        pytest.param([AUTUMN, ("2026-12-19", None)], ["p0", "p1"], id="a day in common"),
        pytest.param([AUTUMN, (None, None)], ["p0", "p1"], id="one without dates"),
        pytest.param([(None, "2026-12-20"), ("2026-12-20", None)], [], id="half open"),
        pytest.param([(None, None), (None, None)], ["p0", "p1"], id="both without dates"),
    ],
)
def test_a_class_has_one_primary_teacher_at_a_time(
    spans: list[tuple[str | None, str | None]], expected: list[str]
) -> None:
    assert clashes(with_primaries(*spans)) == expected


def test_one_person_enrolled_twice_is_no_clash() -> None:
    assert clashes(with_primaries(AUTUMN, AUTUMN, same=True)) == []


def test_a_file_without_the_columns_for_it_tells_nothing() -> None:
    """The missing column `primary` once ended the import as failed."""
    frames = small_district()
    frames["enrollments"] = frames["enrollments"].drop(columns=["beginDate", "endDate"])
    needed = ["sourcedId", "classSourcedId", "schoolSourcedId", "userSourcedId", "role"]
    rows = frames["enrollments"][needed]
    content = rows.to_csv(index=False, lineterminator="\n").encode()
    outcome = parsed(contents(enrollments=content))
    assert outcome.findings["code"].tolist() == ["column_missing"]


@pytest.mark.parametrize(
    ("enrollment", "role", "expected"),
    [
        ("e1", "teacher", ["e1"]),
        ("e4", "student", ["e4"]),
        ("e4", "administrator", []),
        ("e6", "teacher", []),
    ],
)
def test_somebody_enrolled_as_what_she_is_not_is_told(
    enrollment: str, role: str, expected: list[str]
) -> None:
    outcome = parsed(contents(changed(small_district(), "enrollments", enrollment, role=role)))
    assert [t[1] for t in told(outcome.findings)] == expected
    assert set(outcome.findings["code"]) <= {"role_unlike_user"}
    assert outcome.roster.ended.empty


def test_the_rules_hold_for_a_large_class_too() -> None:
    frames = small_district()
    row = frames["enrollments"].query("sourcedId == 'e4'")
    many = pd.concat([row] * 400, ignore_index=True)
    many["sourcedId"] = [f"p{n}" for n in range(400)]
    many["primary"] = "true"
    many.loc[0, "userSourcedId"] = "tom"
    frames["enrollments"] = pd.concat([frames["enrollments"], many], ignore_index=True)
    assert len(clashes(frames)) == 400
