"""The deliveries that `imports` measures: `python -m benchmarks.deliveries STUDENTS FOLDER`.

Writes three of one made district into the folder:
- clean.zip;
- changed.zip: 1 % of the rows of users, classes and enrollments say something else;
- rejected.zip: 30 % of the records fall. A fifth of the students lacks an e-mail address or a
  last name, or shares its address with another, and so loses its enrollments too; 30 % of the
  contacts name an organisation that is not there; 18 % of the enrollments name no class that is
  there, or no person.

It is a process of its own, since a process that starts others with much memory in use would have
that counted as theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.sample import make_district

CASES = ("clean", "changed", "rejected")
SEED = 1


def changed(frames: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The same district with 1 % of its rows changed."""
    rng = np.random.default_rng(SEED)
    said = {
        "users": ("middleName", "Changed"),
        "classes": ("location", "Gym"),
        "enrollments": ("endDate", "2027-06-04"),
    }
    return {**frames, **{file: _with(frames[file], *said[file], 0.01, rng) for file in said}}


def rejected(frames: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The same district with 30 % of its records rejected."""
    rng = np.random.default_rng(SEED)
    users, enrollments = frames["users"].copy(), frames["enrollments"].copy()
    contacts = users["role"].isin(["parent", "guardian", "relative"])

    fallen = _some(users.index[users["role"] == "student"], 0.2, rng)
    no_email, no_name, shared = np.array_split(fallen, 3)
    shared = shared[: len(shared) // 2 * 2]
    users.loc[no_email, "email"] = None
    users.loc[no_name, "familyName"] = None
    users.loc[shared[1::2], "email"] = users.loc[shared[::2], "email"].to_numpy()

    lost = _some(users.index[contacts], 0.3, rng)
    users.loc[lost, "orgSourcedIds"] = [f"X{number % 50}" for number in lost]

    no_class, nobody = np.array_split(_some(enrollments.index, 0.18, rng), 2)
    enrollments.loc[no_class, "classSourcedId"] = [f"X{number % 1000}" for number in no_class]
    enrollments.loc[nobody, "userSourcedId"] = None
    return {**frames, "users": users, "enrollments": enrollments}


def write_deliveries(students: int, folder: Path) -> None:
    """Write the deliveries of a district with so many students."""
    clean = make_district(students, SEED)
    folder.mkdir(parents=True, exist_ok=True)
    write_package(folder / "clean.zip", clean)
    write_package(folder / "changed.zip", changed(clean))
    write_package(folder / "rejected.zip", rejected(clean))


def _with(
    frame: pd.DataFrame, column: str, value: str, share: float, rng: np.random.Generator
) -> pd.DataFrame:
    frame = frame.copy()
    frame.loc[_some(frame.index, share, rng), column] = value
    return frame


def _some(index: pd.Index, share: float, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(index.to_numpy(), round(len(index) * share), replace=False)


if __name__ == "__main__":
    write_deliveries(int(sys.argv[1]), Path(sys.argv[2]))
