"""The effective set: the complete set of data files an import works on.

What a delivery does not hold is carried forward from the last accepted import; a bulk file
replaces its predecessor; a delta file is applied to it row by row (design rule 4.2; OneRoster 1.2,
bulk and delta). So the stages after this always see one whole roster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from roster_pipeline.findings import DeliveryRefused, Finding, finding
from roster_pipeline.oneroster.delivery import (
    Delivery,
    delivered_modes,
    delivered_version,
    needs_roles,
    open_manifest,
)
from roster_pipeline.oneroster.manifest import Mode
from roster_pipeline.oneroster.package import Package
from roster_pipeline.oneroster.reader import FileReading
from roster_pipeline.roster import TEXT

EffectiveMode = Literal["bulk", "delta", "carried_forward"]
Sources = Mapping[str, Sequence[str]]
"""By file: the sha256 of the bulk file it stands on, and of the deltas applied since."""


@dataclass(frozen=True)
class EffectiveFile:
    """One file of the effective set, and how it got there."""

    mode: EffectiveMode
    reading: FileReading


@dataclass(frozen=True)
class EffectiveSet:
    """All data files an import works on, by name, the version of the delivery, and what is to be
    told of it beside what is in the readings."""

    version: str
    files: Mapping[str, EffectiveFile]
    findings: tuple[Finding, ...]


def next_sources(
    base: Sources,
    hashes: Mapping[str, str],
    modes: Mapping[str, Mode],
    *,
    roles_outdated: bool = False,
) -> Sources:
    """What each file stands on after a delivery.

    hashes: the sha256 of each delivered data file. roles_outdated: see `roles_are_outdated`. The
    delta that was applied last counts once: applied again, it changes nothing.
    """
    sources = {name: list(chain) for name, chain in base.items()}
    if roles_outdated:
        sources.pop("roles", None)
    for name, mode in modes.items():
        chain = sources.get(name, []) if mode == "delta" else []
        if not chain or chain[-1] != hashes[name]:
            sources[name] = [*chain, hashes[name]]
    return sources


def effective_hash(sources: Sources) -> str:
    """What an import's identity takes from its files: one hash over what each file stands on, so
    that the same files are the same whether they come loose or zipped, together or apart."""
    lines = "".join(f"{name}:{','.join(chain)}\n" for name, chain in sorted(sources.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def roles_are_outdated(package: Package) -> bool:
    """Whether a delivery brings all users anew, with their roles in users.csv itself: what
    roles.csv once said of them is not to come back. Raises DeliveryRefused for a bad manifest."""
    manifest = open_manifest(package)
    version = delivered_version(package, manifest)
    whole = "users" in package.files and delivered_modes(package, manifest).get("users") == "bulk"
    return whole and "roles" not in package.files and not needs_roles(package, version)


def missing_files(
    package: Package,
    required: Sequence[str],
    *,
    first: bool,
    every_time: bool = False,
    manifest_first: bool = False,
) -> list[Finding]:
    """Fatal findings for files that must be in a delivery and are not (design rule 4.1).

    required: names of the data files a first delivery must hold. every_time: hold later ones to it
    too (CSV Upload). manifest_first: a first one of version 1.1 or later needs a manifest as well.
    Raises DeliveryRefused when the manifest cannot be used.
    """
    manifest = open_manifest(package)
    version = delivered_version(package, manifest)
    needed = list(required) if every_time or first else []
    if "users" in needed and needs_roles(package, version):
        needed.append("roles")
    if manifest_first and first and version.name != "1.0":
        needed.append("manifest")
    return [finding("file_missing", file=f"{n}.csv") for n in needed if n not in package.files]


def apply_delivery(delivery: Delivery, base: Mapping[str, FileReading]) -> EffectiveSet:
    """The effective set after a delivery.

    base: the readings of the last accepted import's effective set; empty before the first. Raises
    DeliveryRefused when a delta has nothing to be applied to.
    """
    homeless = [
        finding("delta_without_base", file=f"{name}.csv")
        for name, mode in delivery.modes.items()
        if mode == "delta" and name not in base
    ]
    if homeless:
        raise DeliveryRefused(homeless)
    files: dict[str, EffectiveFile] = {
        name: EffectiveFile("carried_forward", carried_forward(reading))
        for name, reading in base.items()
    }
    users = delivery.readings.get("users")
    whole = users is not None and delivery.modes["users"] == "bulk" and "role" in users.frame
    if whole and "roles" not in delivery.readings:
        files.pop("roles", None)
    for name, reading in delivery.readings.items():
        mode = delivery.modes[name]
        if mode == "delta":
            files[name] = EffectiveFile(mode, _apply_delta(files[name].reading, reading))
        else:
            files[name] = EffectiveFile(mode, reading)
    if "users" in files and "roles" not in files and "role" not in files["users"].reading.frame:
        raise DeliveryRefused([finding("file_missing", file="roles.csv")])
    return EffectiveSet(delivery.version.name, files, delivery.findings)


def carried_forward(reading: FileReading) -> FileReading:
    """A reading as a later import takes it up: rows that removed a record have done so, and what
    was to be told of the file itself has been told."""
    removed = reading.rejected["outcome"] == "removed"
    gone = _keys(reading.rejected.loc[removed])
    return replace(
        reading,
        rejected=reading.rejected.loc[~removed].reset_index(drop=True),
        told=reading.told.loc[~_keys(reading.told).isin(gone)].reset_index(drop=True),
        findings=(),
    )


def _keys(rows: pd.DataFrame) -> pd.Series[str]:
    """Row number and id together: a base and its deltas may each have a row of one number."""
    return rows["row"].astype(TEXT) + "\x1f" + rows["sourcedId"].fillna("")


def _apply_delta(base: FileReading, delta: FileReading) -> FileReading:
    """A file after a delta, by id: each row of the delta stands instead of all that was known of
    its id, also where it is no record. Such a one was received and rejected; the warehouse keeps
    its last good version (design rule 4.9)."""
    touched = pd.concat([delta.frame["sourcedId"], delta.rejected["sourcedId"]]).dropna()
    left, old, old_told = (
        part.loc[~part["sourcedId"].isin(touched)]
        for part in (base.frame, base.rejected, base.told)
    )
    return FileReading(
        base.name,
        pd.concat([left, delta.frame], ignore_index=True),
        pd.concat([old, delta.rejected], ignore_index=True),
        pd.concat([old_told, delta.told], ignore_index=True),
        delta.findings,
    )
