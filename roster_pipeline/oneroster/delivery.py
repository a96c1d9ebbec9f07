"""Reads a whole delivery: its manifest, its version, and every file of it that we use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from roster_pipeline.findings import DeliveryRefused, Finding, finding
from roster_pipeline.oneroster.manifest import Manifest, Mode, read_manifest
from roster_pipeline.oneroster.package import Limits, Package
from roster_pipeline.oneroster.reader import FileReading, read_file
from roster_pipeline.oneroster.standard import VERSIONS, Version
from roster_pipeline.oneroster.text import header_of

MANIFEST = "manifest"


@dataclass(frozen=True)
class Delivery:
    """A delivery as read.

    manifest: None where there was none. modes: how each data file is to be taken. findings: what
    is to be told of the delivery; those of a file are in its reading.
    """

    version: Version
    manifest: Manifest | None
    modes: Mapping[str, Mode]
    readings: Mapping[str, FileReading]
    findings: tuple[Finding, ...]


def open_manifest(package: Package) -> Manifest | None:
    """The manifest of a package, if it has one. Raises DeliveryRefused when it cannot be used."""
    content = package.files.get(MANIFEST)
    return None if content is None else read_manifest(content)


def delivered_modes(package: Package, manifest: Manifest | None) -> dict[str, Mode]:
    """The data files of a package that we read, with their mode."""
    read = _versions_of_files(package, delivered_version(package, manifest))
    return {name: manifest.mode(name) if manifest else "bulk" for name in read}


def read_delivery(package: Package, limits: Limits = Limits()) -> Delivery:  # noqa: B008
    """Read all files of a package.

    Raises DeliveryRefused with everything that is wrong with its files, not only with the first.
    """
    manifest = open_manifest(package)
    version = delivered_version(package, manifest)
    modes = delivered_modes(package, manifest)
    told = [*package.findings, *(manifest.findings if manifest else ())]
    versions = _versions_of_files(package, version)
    others = [n for n in package.files if n not in versions and n != MANIFEST]
    told += [finding("file_left_alone", file=f"{name}.csv") for name in others]
    fatal: list[Finding] = []
    readings: dict[str, FileReading] = {}

    def read(name: str) -> FileReading | DeliveryRefused:
        try:
            return read_file(name, package.files[name], versions[name], modes[name], limits)
        except DeliveryRefused as refusal:
            return refusal

    # Arrow works outside of Python's lock, so two files are read in the time of the larger one.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, result in zip(versions, pool.map(read, versions), strict=True):
            if isinstance(result, DeliveryRefused):
                fatal += result.findings
            else:
                readings[name] = result
    if "users" in versions and versions["users"] is not version:
        words = {"used": versions["users"].name, "claimed": version.name}
        told.append(finding("header_of_other_version", file="users.csv", row=1, **words))
    if manifest:
        fatal += _promised(manifest, package, version)
        told += _unannounced(manifest, readings)
    if fatal:
        raise DeliveryRefused(fatal)
    return Delivery(version, manifest, modes, readings, tuple(told))


def _versions_of_files(package: Package, version: Version) -> dict[str, Version]:
    """The data files of a package that we read, each with the version it is read as.

    That is the delivery's, except where users.csv says otherwise of itself: whether a person's
    role stands there (1.0, 1.1) or in roles.csv (1.2) is seen in the files.
    """
    read = {name: version for name in package.files if name in version.files}
    if "users" in read and version.name != "1.0":
        has_roles = "roles" in package.files
        has_role = "role" in _header(package, "users")
        if version.name == "1.2" and has_role and not has_roles:
            read["users"] = VERSIONS["1.1"]
        if version.name == "1.1" and has_roles and not has_role:
            read |= dict.fromkeys(("users", "roles"), VERSIONS["1.2"])
    return read


def needs_roles(package: Package, version: Version) -> bool:
    """Whether the roles of the people in users.csv can only stand in roles.csv."""
    return version.name == "1.2" and "role" not in _header(package, "users")


def _header(package: Package, name: str) -> set[str]:
    """The header row of a file of a package, in lower case."""
    return {header.lower() for header in header_of(package.files.get(name, b""))}


def _promised(manifest: Manifest, package: Package, version: Version) -> list[Finding]:
    """Files the manifest announces that are not there, of those we read."""
    return [
        finding("file_announced", file=f"{name}.csv", mode=mode)
        for name, mode in manifest.modes.items()
        if mode != "absent" and name in version.files and name not in package.files
    ]


def _unannounced(manifest: Manifest, readings: Mapping[str, FileReading]) -> list[Finding]:
    """Files that are there though the manifest says absent, or nothing."""
    return [
        finding("file_not_announced", file=f"{name}.csv")
        for name in readings
        if manifest.modes.get(name, "absent") == "absent"
    ]


def delivered_version(package: Package, manifest: Manifest | None) -> Version:
    """The version the manifest names; without one, the version whose headers the files have most
    of, and 1.1 where several do."""
    if manifest:
        return VERSIONS[manifest.version]
    if "roles" in package.files:
        return VERSIONS["1.2"]
    headers = {n: _header(package, n) for n in package.files if n in VERSIONS["1.1"].files}

    def fit(version: Version) -> int:
        return sum(
            len(found & {header.lower() for header in version.files[name].headers})
            for name, found in headers.items()
        )

    return max((VERSIONS["1.1"], VERSIONS["1.0"], VERSIONS["1.2"]), key=fit)
