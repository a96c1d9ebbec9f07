"""All kinds of finding, by their codes.

Those of arrival and of parsing have modules of their own; here are those of the later stages, and
those that each attribute has.
"""

from __future__ import annotations

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings.code import Code
from roster_pipeline.findings.landing_codes import LANDING_CODES
from roster_pipeline.findings.parse_codes import PARSE_CODES

LATER_CODES: dict[str, Code] = {
    "attribute_not_to_be_had": Code(
        "mapped_roster",
        "reported",
        "An attribute the files cannot have",
        "{attribute} of {enrollment_type} stays blank and is not required: {file} was not sent, or "
        "its version has no {field}.",
        "Send {file} in version 1.1 or later to have it.",
    ),
    "mapped_header_missing": Code(
        "mapped_roster",
        "fatal",
        "A mapped column is not in the files",
        "The settings read {attribute} of {enrollment_type} from {field}, which {file} does not "
        "have; it has {found}.",
        "Correct the attribute in the district's settings, or export the column.",
    ),
    "mapped_value_dropped": Code(
        "mapped_roster",
        "reported",
        "A mapped value that cannot be read",
        "{field} cannot be read as {attribute} and was left out; it must be {allowed}.",
        "Correct {field} in this row.",
    ),
    "demographics_without_user": Code(
        "mapped_roster",
        "reported",
        "Demographics of nobody",
        "No row of users.csv has the sourcedId of this row.",
        "Send the user too, or leave the row out.",
    ),
    "email_malformed": Code(
        "complete_roster",
        "reported",
        "An e-mail that cannot be one",
        "The {noun}'s email has not the form of an address.",
        "Correct {field} in this row.",
    ),
    "references_not_checked": Code(
        "linked_roster",
        "reported",
        "References into a file not sent",
        "{file} was not sent and is not required, so references into it were not checked.",
        "Nothing needs to be done.",
    ),
    "school_pending": Code(
        "school_mapped_roster",
        "reported",
        "A school nobody has named yet",
        "It is not yet known which school of the warehouse this organisation is.",
        "`roster schools DISTRICT` lists what it may be: map it, make it a new school or ignore "
        "it, then `roster schools DISTRICT --run`.",
    ),
    "school_vanished": Code(
        "school_mapped_roster",
        "reported",
        "A school that is not in the delivery any more",
        "A school of the warehouse is not in orgs.csv any more.",
        "If it is still there, send it with its records; if it has another id, map that to it.",
    ),
}


class _Codes(dict[str, Code]):
    """By code. A district's own attributes may be required or unique too, so theirs are made when
    they are asked for."""

    def __missing__(self, code: str) -> Code:
        attribute, _, kind = code.rpartition("_")
        if not attribute or kind not in ("missing", "duplicate"):
            raise KeyError(code)
        return _missing(attribute) if kind == "missing" else _duplicate(attribute)


def _missing(attribute: str) -> Code:
    return Code(
        "complete_roster",
        "skipped",
        f"No {attribute}",
        "The {noun} has no {attribute} ({field} is blank).",
        "Fill in {field} in this row.",
    )


def _duplicate(attribute: str) -> Code:
    return Code(
        "unique_roster",
        "skipped",
        f"Several records share one {attribute}",
        "The same {attribute} stands in {others}.",
        "Give each record its own {field}; which of them it belongs to is not guessed.",
    )


def _unknown(reference: str) -> Code:
    return Code(
        "linked_roster",
        "skipped",
        f"{reference} leads nowhere",
        "{field} names a record that will not be active after this import.",
        "Send the record it names, or correct {field} in this row.",
    )


_TYPES = ENROLLMENT_TYPES.values()
_ATTRIBUTES = dict.fromkeys(a.name for t in _TYPES for a in t.attributes)
_REFERENCES = dict.fromkeys(a.name for t in _TYPES for a in t.references)

CODES: dict[str, Code] = _Codes(
    LANDING_CODES
    | PARSE_CODES
    | LATER_CODES
    | {f"{attribute}_missing": _missing(attribute) for attribute in _ATTRIBUTES}
    | {f"{attribute}_duplicate": _duplicate(attribute) for attribute in _ATTRIBUTES}
    | {f"{reference}_unknown": _unknown(reference) for reference in _REFERENCES}
)
