"""The schools of a district beside the organisations of its deliveries, and deciding on one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
from sqlalchemy import Connection

from roster_pipeline.reports.summary import as_records
from roster_pipeline.roster import TEXT
from roster_pipeline.stages.schools import decide_schools, suggest_schools
from roster_pipeline.warehouse import audit, ledger, results
from roster_pipeline.warehouse.mappings import decide, list_mappings, read_mappings
from roster_pipeline.warehouse.state import known_schools


class UnknownSchool(Exception):
    """An organisation or a school is named that is not there; the message says which there are."""


def schools_of(conn: Connection, district_id: str) -> dict[str, list[dict[str, Any]]]:
    """What is known of a district's schools, in four lists of records with org_id, name, school_id,
    how, suggestions (each school_id, name, by, score).

    existing: organisations with their school. pending: those that wait for a decision. ignored.
    missing: schools of the warehouse that the last delivery did not have.
    """
    known = known_schools(conn, district_id)
    mapped = list_mappings(conn, district_id)
    names = known.set_index("source_id")["name"]
    mapped["name"] = mapped["org_name"].fillna(mapped["school_id"].map(names).astype(TEXT))
    suggested = suggest_schools(_as_received(mapped.query("how == 'pending'")), known)
    suggested["name"] = suggested["school_id"].map(names).astype(TEXT)
    of_org = {
        org: as_records(rows.drop(columns="org_id")) for org, rows in suggested.groupby("org_id")
    }
    rows = as_records(mapped[["org_id", "name", "school_id", "how"]])
    told = [{**row, "suggestions": of_org.get(row["org_id"], [])} for row in rows]
    decided = [row for row in told if row["how"] not in ("pending", "ignored")]
    return {
        "existing": decided,
        "pending": [row for row in told if row["how"] == "pending"],
        "ignored": [row for row in told if row["how"] == "ignored"],
        "missing": _missing(conn, district_id, names),
    }


def _missing(conn: Connection, district_id: str, names: pd.Series[str]) -> list[dict[str, Any]]:
    """The schools that the last import whose schools were looked at found to be gone."""
    looked_at = ("imported", "unchanged", "held", "needs_school_mapping", "rejected")
    last = [i for i in ledger.imports(conn, district_id) if i.status in looked_at]
    if not last:
        return []
    gone = results.findings(conn, last[0].id, code="school_vanished")["source_id"]
    blank: dict[str, Any] = {"org_id": None, "how": "missing", "suggestions": []}
    return [{**blank, "name": names.get(s), "school_id": s} for s in gone]


def decide_school(
    conn: Connection,
    district_id: str,
    org_id: str,
    school_id: str | None,
    how: str,
    who: str,
    now: datetime,
) -> None:
    """Record a person's decision. how: manual (then the school must be there), new or ignored.

    Raises UnknownSchool when no delivery has had the organisation, or there is no such school.
    """
    mapped = list_mappings(conn, district_id)
    known = known_schools(conn, district_id)
    orgs = set(mapped["org_id"]) | set(known["source_id"])
    if org_id not in orgs:
        raise UnknownSchool(f"No delivery has had an organisation {org_id}; {_those(orgs)}")
    schools = set(known["source_id"]) | set(mapped["school_id"].dropna())
    if how == "manual" and school_id not in schools:
        raise UnknownSchool(f"There is no school {school_id} in the warehouse; {_those(schools)}")
    last = next(iter(ledger.imports(conn, district_id, 1)), None)
    decide(conn, district_id, org_id, school_id, how, last.id if last else 0, now)
    audit.record(
        conn, now, who, "school_mapping", district_id, None, f"{org_id}: {how} {school_id}"
    )


def match_pending(conn: Connection, district_id: str, who: str, now: datetime) -> pd.DataFrame:
    """Match what is pending as auto_map would, and record it. Columns org_id, school_id, how."""
    pending = list_mappings(conn, district_id).query("how == 'pending'")
    matched = decide_schools(
        _as_received(pending), known_schools(conn, district_id), read_mappings(conn, district_id)
    )
    mine = matched.loc[matched["org_id"].isin(pending["org_id"])]
    for org_id, school_id, how in mine.itertuples(index=False, name=None):
        decide_school(conn, district_id, org_id, school_id, how, who, now)
    return mine


def _as_received(mapped: pd.DataFrame) -> pd.DataFrame:
    names = {"org_id": "source_id", "org_name": "name", "org_identifier": "identifier"}
    return mapped[list(names)].rename(columns=names).reset_index(drop=True)


def _those(ids: set[str]) -> str:
    return f"there are: {', '.join(sorted(ids)[:20])}" if ids else "there are none yet"
