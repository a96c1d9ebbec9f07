"""Links: every reference must lead to a record that will be active after this import.

A record whose required reference leads nowhere ends as `invalid`; an optional one is dropped and
told. Types are settled in the order in which references lead, so that what hangs on a record that
fell is told with it. A record that was received but rejected and is active in the warehouse stays
there, and references to it hold, as long as its own references do (design rules 4.8 and 4.9).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES, PERSONS, Attribute, EnrollmentType
from roster_pipeline.findings import Outcome, concat_findings, finding, findings_frame, tell_records
from roster_pipeline.roster import (
    REJECTED_OUTCOMES,
    TEXT,
    UNTYPED,
    Roster,
    empty_texts,
    first_element,
    joined_elements,
    list_elements,
    lookup,
    one_array,
)

Known = Callable[[str, Sequence[str] | None], pd.DataFrame]
"""What the warehouse holds of a district: the records of an enrollment type that have these ids, or
all of them; columns source_id, active and the type's reference attributes. A question, not an
answer, since most imports reject few records and need to know of none."""


def link_records(roster: Roster, known: Known, decisions: pd.DataFrame) -> Outcome:
    """Resolve all references.

    decisions: which school of the warehouse each received one is (see `schools`), since the
    warehouse's records name its schools and the delivery's name the organisations. The returned
    roster knows what is `kept`.
    """
    known_orgs = _rejected_organizations(roster, known)
    living = {"organization": pd.concat([roster.organizations["source_id"], known_orgs])}
    causes = _Causes(roster)
    told: list[pd.DataFrame] = []
    kept: list[pd.DataFrame] = []
    for enrollment_type in ENROLLMENT_TYPES.values():
        name = enrollment_type.name
        living[name] = roster.frames[name]["source_id"]
        for attribute in enrollment_type.references:
            if _checkable(attribute, roster) and not _among_themselves(enrollment_type, attribute):
                roster, found = _resolve(roster, enrollment_type, attribute, living, causes)
                told += found
                living[name] = roster.frames[name]["source_id"]
        if name == "school":
            received = decisions["org_id"].isin(living[name])
            mapped = decisions.loc[received, "school_id"]
            living[name] = pd.concat([living[name], mapped], ignore_index=True)
        stays = _kept(roster, enrollment_type, known, living, decisions)
        kept.append(stays)
        living[name] = pd.concat([living[name], stays["source_id"]], ignore_index=True)
        if name == "school":
            kept_as = decisions.loc[decisions["school_id"].isin(stays["source_id"]), "org_id"]
            living[name] = pd.concat([living[name], kept_as], ignore_index=True)
    for enrollment_type in ENROLLMENT_TYPES.values():
        for attribute in enrollment_type.references:
            if _among_themselves(enrollment_type, attribute):
                roster, found = _resolve(roster, enrollment_type, attribute, living, causes)
                told += found
    referred_to = {
        _file_of(target)
        for enrollment_type in ENROLLMENT_TYPES.values()
        for attribute in enrollment_type.references
        for target in attribute.refers_to
    }
    absent = [
        finding("references_not_checked", file=f"{file}.csv")
        for file in roster.absent_files
        if file in referred_to
    ]
    roster = replace(roster, kept=pd.concat(kept, ignore_index=True))
    return Outcome(roster, concat_findings([findings_frame(absent), *told]))


def _checkable(attribute: Attribute, roster: Roster) -> bool:
    """Whether the file a reference leads into is there to be checked against."""
    targets = {_file_of(target) for target in attribute.refers_to}
    return not targets <= set(roster.absent_files)


def _file_of(target: str) -> str:
    return "orgs" if target == "organization" else ENROLLMENT_TYPES[target].file


def _among_themselves(enrollment_type: EnrollmentType, attribute: Attribute) -> bool:
    """Whether records name others of their own kind (students and contacts each other), so that
    all of them must be settled first. Such references are optional: no record falls by them."""
    return enrollment_type.name in attribute.refers_to


def _rejected_organizations(roster: Roster, known: Known) -> pd.Series[str]:
    """Rejected rows of orgs.csv that active records of the warehouse name. Organisations that are
    no schools are not in the warehouse, but these were good when those records came."""
    ids = roster.ended.loc[_rejected(roster, ("school",)), "source_id"]
    if ids.empty:
        return ids
    named = []
    for name, enrollment_type in ENROLLMENT_TYPES.items():
        naming = [
            attribute.name
            for attribute in enrollment_type.references
            if "organization" in attribute.refers_to and attribute.kind != "list"
        ]
        if naming:
            records = known(name, None)
            active = records["active"].astype(bool)
            named += [records.loc[active, attribute] for attribute in naming]
    return ids.loc[ids.isin(pd.concat(named).dropna())]


def _rejected(roster: Roster, types: Sequence[str]) -> pd.Series[bool]:
    """Which ended records of these types were received but rejected."""
    ended = roster.ended
    rejected: pd.Series[bool] = ended["enrollment_type"].isin(types)
    return rejected & ended["outcome"].isin(REJECTED_OUTCOMES)


def _resolve(
    roster: Roster,
    enrollment_type: EnrollmentType,
    attribute: Attribute,
    living: Mapping[str, pd.Series[str]],
    causes: _Causes,
) -> tuple[Roster, list[pd.DataFrame]]:
    """Drop dangling values of one attribute; end the records that may not lack them."""
    name = enrollment_type.name
    frame = roster.frames[name]
    targets = pd.concat([living[target] for target in attribute.refers_to], ignore_index=True)
    values = frame[attribute.name]
    if attribute.kind == "list":
        left, lost = _split_elements(values, targets)
    else:
        lives = values.isin(targets)
        left, lost = values.where(lives), values.where(~lives)
    dangling = lost.notna()
    if not dangling.any():
        return roster, []
    ends = dangling & left.isna() if attribute.required_reference else dangling & False
    source = roster.sources[name][attribute.name]
    header = source.partition(".")[2]
    records, lost, fall = frame.loc[dangling], lost.loc[dangling], ends.loc[dangling]
    sentence = (
        f"{header} names " + lost + f", {_noun(attribute)} that will be active after this import."
    )
    cause = causes.of(lost, attribute)
    causes.add(name, records.loc[fall, "source_id"], cause.loc[fall])
    told = [
        tell_records(
            f"{attribute.name}_unknown",
            name,
            records.loc[mask],
            attribute.name,
            source,
            severity="skipped" if mask is fall else "reported",
            message=sentence.loc[mask],
            how_to_fix=causes.remedy(cause.loc[mask]),
            cause=cause.loc[mask],
        )
        for mask in (fall, ~_filtered(lost, attribute, roster) & ~fall)
        if mask.any()
    ]
    changed = frame.assign(**{attribute.name: left.where(~ends, values)})
    roster = replace(roster, frames={**roster.frames, name: changed})
    return roster.end(name, ends, "invalid"), told


class _Causes:
    """Which record each fallen one fell for: itself where it ended before links, else the first of
    the chain it hangs on. One missing school is so one cause, whatever hangs on it."""

    def __init__(self, roster: Roster) -> None:
        ended = roster.ended.dropna(subset="source_id")
        self._roots = ended["enrollment_type"] + "/" + ended["source_id"]
        self._places = ended["file"] + " row " + ended["row"].astype(TEXT)
        self._by_type = {
            str(name): (mine["source_id"], str(name) + "/" + mine["source_id"])
            for name, mine in ended.drop_duplicates(["enrollment_type", "source_id"]).groupby(
                "enrollment_type"
            )
        }

    def remedy(self, causes: pd.Series[str]) -> pd.Series[str]:
        """Where the first of the chain was received: to mend that one first. Null elsewhere."""
        first = ~self._roots.duplicated()
        places = lookup(causes, self._roots.loc[first], self._places.loc[first])
        kinds = causes.str.replace("(?s)/.*", "", regex=True).str.replace("_", " ", regex=False)
        ids = causes.str.replace("^[^/]*/", "", regex=True)
        return "Mend " + kinds + " " + ids + " first: " + places + "."

    def add(self, name: str, source_ids: pd.Series[str], causes: pd.Series[str]) -> None:
        """Note why records of a type fell."""
        ids, known = self._by_type.get(name, (source_ids.iloc[:0], causes.iloc[:0]))
        self._by_type[name] = (
            pd.concat([ids, source_ids], ignore_index=True),
            pd.concat([known, causes], ignore_index=True),
        )

    def of(self, lost: pd.Series[str], attribute: Attribute) -> pd.Series[str]:
        """The cause of each dangling value, of a list the first one's: what its target fell for,
        or the target itself when it was not received."""
        names = first_element(lost)
        cause = pd.Series(pd.NA, lost.index, dtype=TEXT)
        for target in (*attribute.refers_to, UNTYPED):
            if target in self._by_type:
                cause = cause.fillna(lookup(names, *self._by_type[target]))
        kind = "person" if attribute.refers_to == PERSONS else attribute.refers_to[0]
        return cause.fillna(kind + "/" + names)


def _filtered(lost: pd.Series[str], attribute: Attribute, roster: Roster) -> pd.Series[bool]:
    """Where all that a reference has lost was filtered, which is no fault."""
    ended = roster.ended
    targets = ended["enrollment_type"].isin([*attribute.refers_to, UNTYPED])
    filtered = targets & (ended["outcome"] == "filtered")
    ids = ended.loc[filtered, "source_id"]
    if attribute.kind == "list":
        _, unknown = _split_elements(lost, ids)
        return unknown.isna()
    return lost.isna() | lost.isin(ids)


def _noun(attribute: Attribute) -> str:
    """What a dangling reference does not name, in words."""
    if attribute.refers_to == PERSONS:
        return "which is no person"
    return f"which is no {attribute.refers_to[0].replace('_', ' ')}"


def _split_elements(
    values: pd.Series[str], targets: pd.Series[str]
) -> tuple[pd.Series[str], pd.Series[str]]:
    """A list attribute in two: its elements that are among the targets, and those that are not;
    null where there is none of the kind."""
    positions, elements = list_elements(values)
    lives = pd.Series(elements).isin(targets).to_numpy(bool)
    if lives.all():
        return values, pd.Series(pd.NA, index=values.index, dtype=TEXT)
    left, lost = (
        joined_elements(positions[which], elements[which], values.index)
        for which in (lives, ~lives)
    )
    return left, lost


def _kept(
    roster: Roster,
    enrollment_type: EnrollmentType,
    known: Known,
    living: Mapping[str, pd.Series[str]],
    decisions: pd.DataFrame,
) -> pd.DataFrame:
    """The active warehouse records of a type that were received but rejected, and whose own
    required references stay active. Columns enrollment_type, source_id."""
    name = enrollment_type.name
    as_type = [name, UNTYPED] if name in PERSONS else [name]
    ids = roster.ended.loc[_rejected(roster, as_type), "source_id"]
    if name == "school":
        ids = pd.concat([ids, decisions.loc[decisions["org_id"].isin(ids), "school_id"]])
    ids = ids.dropna().drop_duplicates()
    if ids.empty:
        return empty_texts("enrollment_type", "source_id")
    stays = known(name, one_array(ids.loc[~ids.isin(living[name])]).to_pylist())
    stays = stays.loc[stays["active"].astype(bool)]
    for attribute in enrollment_type.references:
        if not attribute.required_reference or not _checkable(attribute, roster):
            continue
        targets = pd.concat([living[t] for t in attribute.refers_to], ignore_index=True)
        values = stays[attribute.name]
        if attribute.kind == "list":
            left, _ = _split_elements(values, targets)
            stays = stays.loc[values.isna() | left.notna()]
        else:
            stays = stays.loc[values.isna() | values.isin(targets)]
    return pd.DataFrame(
        {
            "enrollment_type": pd.Series(name, stays.index, dtype=TEXT),
            "source_id": stays["source_id"],
        }
    )
