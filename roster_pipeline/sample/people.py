"""Families with their students and guardians, the staff, and demographics.

Persons travel as `People`: parallel arrays, one element a person. Who belongs to whom is kept as
positions, and becomes ids only when the frames are made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from roster_pipeline.oneroster.standard import RACES
from roster_pipeline.sample.columns import (
    Bools,
    Days,
    Ints,
    Text,
    booleans,
    dates,
    join,
    numbered_apart,
    numbers,
    pick,
    stacked,
    where,
    words,
)
from roster_pipeline.sample.curriculum import GRADES
from roster_pipeline.sample.names import FAMILY, GIVEN, ORIGINS

CHILDREN_PER_FAMILY = (0.70, 0.25, 0.05)
GUARDIANS_PER_FAMILY = (0.25, 0.65, 0.10)
MOST_CHILDREN = len(CHILDREN_PER_FAMILY)
MOST_GUARDIANS = len(GUARDIANS_PER_FAMILY)

_SHARES = np.array([origin.share for origin in ORIGINS])
_RACE = np.array([origin.race for origin in ORIGINS])
_HISPANIC = np.array([origin.hispanic for origin in ORIGINS])
_DOUBLE = np.array([origin.double for origin in ORIGINS])
_COUNTRY = words(origin.country for origin in ORIGINS)


@dataclass(frozen=True)
class People:
    """Persons of one kind: their ids and names, and the part of an e-mail address made of them."""

    ids: Text
    given: Text
    middle: Text
    family: Text
    given_slug: Text
    family_slug: Text
    female: Bools
    origin: Ints

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Families:
    """What the members of a family share.

    children: students by family, shape (families, MOST_CHILDREN), -1 where there is none.
    guardians: likewise. family_of: the family of each student. grade: of each student.
    """

    origin: Ints
    name: Text
    slug: Text
    children: Ints
    guardians: Ints
    family_of: Ints
    grade: Ints


def make_families(rng: np.random.Generator, students: int) -> Families:
    """Enough families for exactly that many students, with grades spread evenly.

    Siblings are at least two grades apart, which their birth dates need.
    """
    sizes = rng.choice(MOST_CHILDREN, students, p=CHILDREN_PER_FAMILY) + 1
    families = int(np.searchsorted(np.cumsum(sizes), students)) + 1
    sizes = sizes[:families]
    sizes[-1] -= sizes.sum() - students
    children = _members(sizes, MOST_CHILDREN)
    guardians = _members(
        rng.choice(MOST_GUARDIANS, families, p=GUARDIANS_PER_FAMILY) + 1, MOST_GUARDIANS
    )

    first = rng.permutation(families) % len(GRADES)
    gaps = rng.integers(2, 5, (families, MOST_CHILDREN))
    gaps[:, 0] = 0
    by_child = (first[:, None] + np.cumsum(gaps, axis=1)) % len(GRADES)

    origin = rng.choice(len(ORIGINS), families, p=_SHARES / _SHARES.sum())
    name, slug = _family_names(rng, origin)
    family_of = np.repeat(np.arange(families), sizes)
    return Families(origin, name, slug, children, guardians, family_of, by_child[children >= 0])


def _members(sizes: Ints, most: int) -> Ints:
    """The running numbers of each family's members; -1 where it has fewer than `most`."""
    place = np.arange(most)
    starts = np.cumsum(sizes) - sizes
    members: Ints = np.where(place < sizes[:, None], starts[:, None] + place, -1)
    return members


def _family_names(rng: np.random.Generator, origin: Ints) -> tuple[Text, Text]:
    """Family names and their slugs: some double (`Muñoz Reyes`), a few joined (`Hayes-Grant`)."""
    first, second = FAMILY.draw(rng, origin), FAMILY.draw(rng, origin)
    other = first != second
    double = other & (rng.random(len(origin)) < _DOUBLE[origin])
    joined = other & ~double & (rng.random(len(origin)) < 0.04)
    tail = where(double | joined, pick(FAMILY.names, second), words([""] * len(origin)))
    between = pick(("", " ", "-"), double + 2 * joined)
    slug_tail = where(double | joined, pick(FAMILY.slugs, second), words([""] * len(origin)))
    return (
        join(pick(FAMILY.names, first), between, tail),
        join(pick(FAMILY.slugs, first), slug_tail),
    )


def make_people(
    rng: np.random.Generator,
    prefix: str,
    count: int,
    origin: Ints | None = None,
    family: tuple[Text, Text] | None = None,
    female_share: float = 0.5,
) -> People:
    """That many persons with ids `prefix` and a number.

    origin and family (name, slug): where given, one element a person, else drawn.
    """
    if origin is None:
        origin = rng.choice(len(ORIGINS), count, p=_SHARES / _SHARES.sum())
    name, slug = family or _family_names(rng, origin)
    female = rng.random(count) < female_share
    assimilated = np.where(rng.random(count) < 0.2, 0, origin)
    given = GIVEN.draw(rng, assimilated + np.where(female, 0, len(ORIGINS)))
    middle = GIVEN.draw(rng, origin + np.where(female, 0, len(ORIGINS)))
    middle[(rng.random(count) > 0.55) | (middle == given)] = -1
    first = 10 ** max(5, len(str(count)))
    return People(
        ids=join(prefix, numbers(first + rng.permutation(count))),
        given=pick(GIVEN.names, given),
        middle=pick(GIVEN.names, middle),
        family=name,
        given_slug=pick(GIVEN.slugs, given),
        family_slug=slug,
        female=female,
        origin=origin,
    )


def make_students(rng: np.random.Generator, families: Families) -> People:
    """The students, in the order of their families."""
    of = families.family_of
    return make_people(
        rng,
        "S",
        len(of),
        families.origin[of],
        (pick(families.name, of), pick(families.slug, of)),
    )


def make_guardians(rng: np.random.Generator, families: Families) -> tuple[People, Ints, Text]:
    """The guardians in the order of their families, the family of each, and their roles."""
    of, place = np.nonzero(families.guardians >= 0)
    own = (place > 0) & (rng.random(len(of)) < 0.3)
    origin = families.origin[of]
    own_name, own_slug = _family_names(rng, origin)
    people = make_people(
        rng,
        "G",
        len(of),
        origin,
        (
            where(own, own_name, pick(families.name, of)),
            where(own, own_slug, pick(families.slug, of)),
        ),
        female_share=0.55,
    )
    role = np.where(place == 2, 2, (rng.random(len(of)) < 0.12).astype(np.int64))
    return people, of, pick(("parent", "guardian", "relative"), role)


def dotted(people: People) -> Text:
    """`given.family`, numbered where it stands for several persons."""
    return numbered_apart(join(people.given_slug, ".", people.family_slug))


def initialled(*kinds: People) -> list[Text]:
    """`gfamily` (first letter and family name) for staff, numbered apart across all the kinds."""
    slugs = [join(pc.utf8_slice_codeunits(p.given_slug, 0, 1), p.family_slug) for p in kinds]
    unique = numbered_apart(stacked(*slugs))
    ends = np.cumsum([len(people) for people in kinds])
    return [
        unique.slice(end - len(people), len(people))
        for people, end in zip(kinds, ends, strict=True)
    ]


def state_ids(rng: np.random.Generator, count: int) -> Text:
    """Unique ten-digit numbers that follow no order."""
    step = 7919
    return numbers(1_000_000_000 + rng.permutation(count) * step + rng.integers(0, step, count))


def demographics(rng: np.random.Generator, students: People, grade: Ints) -> dict[str, Text]:
    """The columns of demographics.csv, one row a student.

    Birth dates fit the grade: five years old on 1 September 2026 in kindergarten, a year more for
    each grade, and one more for the few who repeated one.
    """
    count = len(students)
    repeated = rng.random(count) < 0.03
    years = 2020 - grade - repeated
    start = (years - 1970).astype("datetime64[Y]").astype("datetime64[M]") + np.timedelta64(8, "M")
    day: Days = rng.integers(0, 365, count).astype("timedelta64[D]")
    born = start.astype("datetime64[D]") + day

    race = np.zeros((count, 5), bool)
    race[np.arange(count), _RACE[students.origin]] = True
    mixed = rng.random(count) < 0.06
    race[np.flatnonzero(mixed), rng.integers(0, 5, int(mixed.sum()))] = True
    several = race.sum(axis=1) > 1
    hispanic = _HISPANIC[students.origin] | (rng.random(count) < 0.02)
    flags = [*race.T, several, hispanic]

    abroad = rng.random(count) < 0.08
    country = where(abroad, pick(_COUNTRY, students.origin), words(["US"] * count))
    return {
        "sourcedId": students.ids,
        "birthDate": dates(born),
        "sex": pick(("male", "female"), students.female.astype(np.int64)),
        **{name: booleans(flag) for name, flag in zip(RACES, flags, strict=True)},
        "countryOfBirthCode": country,
    }
