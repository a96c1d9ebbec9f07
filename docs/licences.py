"""The page of docs/ that lists what an installation brings along, and under which licences: read
from the metadata of what is installed here, which is what requirements.lock names."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement

from docs.reference import FIRST_LINE

EXTRAS = ("", "celery", "s3")
"""What of roster-pipeline is listed; its extra `kubernetes` is installed in the container only."""

WORDS = """# Licences of what is installed

What `pip install` brings along with roster-pipeline and its extras `celery` and `s3`, each package
in its own words. `make audit` asks which of them have known weaknesses.
"""


def licences_page() -> str:
    """licences.md."""
    rows = [f"| {d.name} | {d.version} | {licence(d)} |" for d in installed()]
    table = "\n".join(["| package | version | licence |", "|---|---|---|", *rows])
    return f"{FIRST_LINE}\n{WORDS}\n{table}\n"


def installed() -> list[Distribution]:
    """All packages that roster-pipeline needs here, directly or not, by name."""
    found: dict[str, Distribution] = {}
    open_ones = [("roster-pipeline", extra) for extra in EXTRAS]
    seen = set(open_ones)
    while open_ones:
        name, extra = open_ones.pop()
        package = distribution(name)
        found[package.name.lower()] = package
        new = set(_needs(package, extra)) - seen
        seen |= new
        open_ones += new
    del found["roster-pipeline"]
    return [found[name] for name in sorted(found)]


def _needs(package: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    for line in package.requires or ():
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate({"extra": extra}):
            yield needed.name, ""
            yield from ((needed.name, further) for further in needed.extras)


def licence(package: Distribution) -> str:
    """Under which licence a package says it is: by the expression that newer metadata have, else
    by its classifiers, else in its own words."""
    told = package.metadata
    classifiers = [
        classifier.rpartition(" :: ")[2]
        for classifier in told.get_all("Classifier", [])
        if classifier.startswith("License :: OSI Approved :: ")
    ]
    own_words: str = (told.get("License") or "").partition("\n")[0]
    return told.get("License-Expression") or " or ".join(classifiers) or own_words or "not stated"
