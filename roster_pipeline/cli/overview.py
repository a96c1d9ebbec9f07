"""`roster overview`: what the warehouse holds of a district."""

from __future__ import annotations

from collections.abc import Mapping

from roster_pipeline.cli.lookup import DistrictArgument, district_must_exist, open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, print_json, table


def overview(
    district_id: DistrictArgument,
    format: FormatOption = Format.table,
) -> None:
    """How many active records a district has in the warehouse, by type and school."""
    from roster_pipeline.reports.summary import as_records
    from roster_pipeline.warehouse import queries
    from roster_pipeline.warehouse.database import reading

    with reading(open_or_fail()) as conn:
        counts = queries.overview(conn, district_id)
    records = as_records(counts)
    if format is Format.json:
        print_json(records)
    elif not records:
        district_must_exist(district_id)
        console().print(f"The warehouse has no active records of {district_id}.")
    else:
        names = list(dict.fromkeys(r["enrollment_type"] for r in records))
        schools: dict[tuple[str | None, str | None], dict[str, int]] = {}
        for r in records:
            place = (r["school_name"], r["school"])
            schools.setdefault(place, {})[r["enrollment_type"]] = int(r["records"])
        rows = [
            [_school_label(*place, schools), *(by_type.get(n, 0) for n in names)]
            for place, by_type in schools.items()
        ]
        total = ["all", *(sum(b.get(n, 0) for b in schools.values()) for n in names)]
        console().print(table(["", *(n.replace("_", " ") for n in names)], [*rows, total]))


def _school_label(
    name: str | None, source_id: str | None, schools: Mapping[tuple[str | None, str | None], object]
) -> str:
    """What a line of the overview is called: the school, with its id where several share a name;
    an organisation that is no school by its id."""
    if source_id is None:
        return "the district"
    if name is None:
        return f"{source_id} (no school)"
    shared = sum(other == name for other, _ in schools) > 1
    return f"{name} ({source_id})" if shared else name
