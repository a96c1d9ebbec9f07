"""What is to be told: findings, their severities and codes, and what a stage returns.

Every sentence the product says about a record or a file has its code here, with what happened and
how to mend it, so that the command line, the checks, the reports and the mails say the same thing
in the same words. Messages name files, rows, ids, attributes; never a person's data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

import pandas as pd

from roster_pipeline.roster import ENROLLMENT_TYPES, INTEGER, TEXT, Roster, school_of

Severity = Literal["fatal", "skipped", "reported"]


@dataclass(frozen=True)
class Finding:
    """One thing that is to be told about one record or one file (design section 3).

    file, row, field: where the district finds it: the file, the row as a spreadsheet shows it
        (the header is row 1) and the header of the column.
    attribute: our name of that column.
    cause: where this is the consequence of another record's fault, that record, as
        `enrollment_type/source_id`; the first of the chain, which is the one to mend.
    severity: `fatal` (the delivery is refused), `skipped` (the record is left out),
        `reported` (the record goes in; an optional value may have been dropped).
    """

    stage: str
    code: str
    severity: Severity
    message: str
    how_to_fix: str
    file: str | None = None
    row: int | None = None
    field: str | None = None
    source_id: str | None = None
    school: str | None = None
    enrollment_type: str | None = None
    attribute: str | None = None
    cause: str | None = None


FINDING_COLUMNS = (
    "file",
    "row",
    "field",
    "source_id",
    "school",
    "enrollment_type",
    "attribute",
    "stage",
    "code",
    "severity",
    "message",
    "how_to_fix",
    "cause",
)
assert set(FINDING_COLUMNS) == {f.name for f in fields(Finding)}


@dataclass(frozen=True)
class Code:
    """A kind of finding: the stage that tells it, its severity, and its words.

    message and how_to_fix may name `{field}`, `{file}`, `{attribute}` and what the teller passes
    as details.
    """

    stage: str
    severity: Severity
    title: str
    message: str
    how_to_fix: str


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
        "Give each record a {field} of its own; which of them it belongs to is not guessed.",
    )


CODES: dict[str, Code] = _Codes()


def _code(
    code: str, stage: str, severity: Severity, title: str, message: str, how_to_fix: str
) -> None:
    CODES[code] = Code(stage, severity, title, message, how_to_fix)


_code(
    "delivery_empty",
    "landing_snapshot",
    "fatal",
    "Nothing arrived",
    "There is no file in the delivery.",
    "Put OneRoster.zip into the landing zone, or name the files to import.",
)
_code(
    "file_not_found",
    "landing_snapshot",
    "fatal",
    "A named file is not there",
    "{file} does not exist or is no file.",
    "Check the path.",
)
_code(
    "delivery_without_files",
    "landing_snapshot",
    "fatal",
    "No OneRoster file in the delivery",
    "None of the files is a OneRoster file; found: {found}.",
    "The files must be named users.csv, orgs.csv and so on, best in one OneRoster.zip.",
)
_code(
    "file_ignored",
    "landing_snapshot",
    "reported",
    "A file that is not part of OneRoster",
    "{file} is not a file of the OneRoster standard and was ignored.",
    "Nothing needs to be done, unless its name is a misspelling.",
)
_code(
    "file_ignored_beside_zip",
    "landing_snapshot",
    "reported",
    "A loose file beside the zip",
    "{file} lies beside the zip and was ignored; only the zip was read.",
    "Remove the loose file, or put it into the zip.",
)
_code(
    "file_name_case",
    "landing_snapshot",
    "reported",
    "A file name in other capitals",
    "{file} was read as {right}.",
    "Name the file {right}.",
)
_code(
    "file_twice",
    "landing_snapshot",
    "fatal",
    "One file twice",
    "{file} is there more than once (also as {other}); which of them counts cannot be known.",
    "Send each file once.",
)
_code(
    "file_too_large",
    "landing_snapshot",
    "fatal",
    "A file is too large",
    "{file} is larger than {limit}.",
    "Split the district, or raise the limit.",
)
_code(
    "delivery_too_large",
    "landing_snapshot",
    "fatal",
    "The delivery is too large",
    "What {file} holds is larger than {limit} in all.",
    "Split the district, or raise the limit.",
)
_code(
    "zip_several",
    "landing_snapshot",
    "fatal",
    "Several zips",
    "{file} is a second zip in the delivery.",
    "Send one zip.",
)
_code(
    "zip_empty",
    "landing_snapshot",
    "fatal",
    "The zip is empty",
    "{file} holds nothing.",
    "Export again and send the whole file.",
)
_code(
    "zip_too_large",
    "landing_snapshot",
    "fatal",
    "The zip is too large",
    "{file} is larger than {limit}.",
    "Send only the OneRoster files, compressed.",
)
_code(
    "zip_damaged",
    "landing_snapshot",
    "fatal",
    "The zip is damaged",
    "{file} is not a whole zip archive: it was cut short, damaged, or is not a zip at all.",
    "Send the file again, and compare its size on both sides.",
)
_code(
    "zip_too_many_entries",
    "landing_snapshot",
    "fatal",
    "Too many files in the zip",
    "{file} holds more than {limit} files.",
    "Put only the OneRoster files into the zip.",
)
_code(
    "zip_several_folders",
    "landing_snapshot",
    "fatal",
    "Several folders in the zip",
    "The files in {file} lie in more than one folder.",
    "Zip the files themselves, not their folders.",
)
_code(
    "zip_folder",
    "landing_snapshot",
    "reported",
    "The files lie in a folder of the zip",
    "The files in {file} lie inside a folder; it was read all the same.",
    "Zip the files themselves, not the folder.",
)
_code(
    "zip_prefixed",
    "landing_snapshot",
    "fatal",
    "Something stands before the zip",
    "{file} has other content in front of the archive.",
    "Send a plain zip, not a self-extracting one.",
)
_code(
    "zip_entry_path",
    "landing_snapshot",
    "fatal",
    "A path in the zip",
    "{file} holds an entry that points outside of it: {entry}.",
    "Zip the files without paths.",
)
_code(
    "zip_entry_link",
    "landing_snapshot",
    "fatal",
    "A link in the zip",
    "{file} holds a symbolic link: {entry}.",
    "Zip the files themselves.",
)
_code(
    "zip_encrypted",
    "landing_snapshot",
    "fatal",
    "The zip has a password",
    "{file} is protected by a password.",
    "Remove the password; the transfer itself is encrypted.",
)
_code(
    "zip_compression",
    "landing_snapshot",
    "fatal",
    "An unusual compression",
    "{entry} in {file} is compressed by a method other than deflate.",
    "Make the zip with the ordinary method (deflate).",
)
_code(
    "zip_ratio",
    "landing_snapshot",
    "fatal",
    "A zip bomb",
    "{file} unpacks to more than {limit} times its compressed size, as no roster does.",
    "Export again; if the content is right, send the file loose.",
)
_code(
    "zip_in_zip",
    "landing_snapshot",
    "fatal",
    "A zip in the zip",
    "{file} is a zip inside the delivery; it was not opened.",
    "Put the CSV files into one zip.",
)

_code(
    "manifest_unreadable",
    "parsed_roster",
    "fatal",
    "The manifest cannot be read",
    "manifest.csv does not name oneroster.version.",
    "Export manifest.csv anew: two columns, propertyName and value, with oneroster.version.",
)
_code(
    "version_unknown",
    "parsed_roster",
    "fatal",
    "An unknown version",
    "manifest.csv names OneRoster {found}; we read {allowed}.",
    "Export one of the versions {allowed}.",
)
_code(
    "manifest_contradicts",
    "parsed_roster",
    "fatal",
    "The manifest contradicts itself",
    "manifest.csv says two different things of {field}, the second in row {row}.",
    "Say it once.",
)
_code(
    "file_missing",
    "parsed_roster",
    "fatal",
    "A required file is missing",
    "{file} is missing.",
    "Send {file} with the others, or take it from required_files.",
)
_code(
    "file_left_alone",
    "parsed_roster",
    "reported",
    "A file we do not use",
    "{file} is a gradebook or resource file; it was left alone.",
    "Nothing needs to be done.",
)
_code(
    "file_empty",
    "parsed_roster",
    "fatal",
    "An empty file",
    "{file} is empty, without even a header.",
    "Export {file} again.",
)
_code(
    "file_mostly_ragged",
    "parsed_roster",
    "fatal",
    "Most rows do not fit the header",
    "{count} of {rows} rows in {file} have another number of fields than the header.",
    "Export {file} again; values that hold commas must be quoted.",
)
_code(
    "encoding_utf16",
    "parsed_roster",
    "reported",
    "UTF-16",
    "{file} is written in UTF-16; it was read as such.",
    "Export as UTF-8.",
)
_code(
    "encoding_cp1252",
    "parsed_roster",
    "reported",
    "Windows-1252",
    "{file} is not written in UTF-8; it was read as Windows-1252.",
    "Export as UTF-8.",
)
_code(
    "encoding_unknown",
    "parsed_roster",
    "fatal",
    "Unreadable characters",
    "{file} has bytes in row {row} that are neither UTF-8 nor Windows-1252.",
    "Export as UTF-8.",
)
_code(
    "line_ends_cr",
    "parsed_roster",
    "reported",
    "Line ends of old Macintoshes",
    "The lines of {file} end in CR only; they were read so.",
    "Save {file} with LF or CRLF line ends.",
)
_code(
    "nul_byte",
    "parsed_roster",
    "fatal",
    "A NUL byte",
    "{file} has a NUL byte in row {row}: it is damaged, no text, or UTF-16 without its mark.",
    "Export {file} again, as UTF-8.",
)
_code(
    "quote_unclosed",
    "parsed_roster",
    "fatal",
    "A quote is never closed",
    "In {file} a quote is opened in row {row} and not closed where it should be.",
    "Close the quote in row {row}; a quote inside a value is written twice.",
)
_code(
    "record_incomplete",
    "parsed_roster",
    "fatal",
    "The file is cut short",
    "{file} ends in the middle of row {row}: the last record is incomplete.",
    "Send the file again, and compare its size on both sides.",
)
_code(
    "header_doubled",
    "parsed_roster",
    "fatal",
    "A header twice",
    "{file} has the column {field} twice.",
    "Name each column once.",
)
_code(
    "header_missing",
    "parsed_roster",
    "fatal",
    "Required columns are missing",
    "{file} lacks the required columns {missing}; its header has {found}.",
    "Export {file} with all columns of the OneRoster standard, the header in row 1.",
)
_code(
    "header_repeated",
    "parsed_roster",
    "reported",
    "The header stands there again",
    "{count} rows of {file} repeat the header; they were taken for no records.",
    "Export {file} with one header, in row 1.",
)
_code(
    "column_unnamed",
    "parsed_roster",
    "reported",
    "Columns without a name",
    "{file} has {count} columns without a header; they were left out.",
    "Give the columns a header, or leave them out.",
)
_code(
    "column_missing",
    "parsed_roster",
    "reported",
    "Optional columns are missing",
    "{file} lacks the optional columns {missing}; they were taken as blank.",
    "Export {file} with all columns of the OneRoster standard.",
)
_code(
    "columns_too_many",
    "parsed_roster",
    "fatal",
    "Too many columns",
    "{file} has more than {limit} columns.",
    "Export only the columns of the standard.",
)
_code(
    "values_normalised",
    "parsed_roster",
    "reported",
    "Values put into the standard's form",
    "Values of {field} in {file} were put into the standard's form ({count} of them).",
    "Nothing needs to be done; the standard's form is safer with other receivers.",
)
_code(
    "row_ragged",
    "parsed_roster",
    "skipped",
    "A row that does not fit its header",
    "The row has another number of fields than the header.",
    "Give the row as many fields as the header has; quote values that hold commas.",
)
_code(
    "row_overwide",
    "parsed_roster",
    "reported",
    "A row with blank fields too many",
    "The row has more fields than the header; those beyond it are blank and were cut off.",
    "Give the row as many fields as the header has.",
)
_code(
    "source_id_missing",
    "parsed_roster",
    "skipped",
    "A record without sourcedId",
    "The row has no sourcedId.",
    "Fill in sourcedId; it must stay the same in every export.",
)
_code(
    "value_unreadable",
    "parsed_roster",
    "skipped",
    "A required value that cannot be read",
    "{field} cannot be read; it must be {allowed}.",
    "Correct {field} in this row.",
)
_code(
    "value_dropped",
    "parsed_roster",
    "reported",
    "An optional value that cannot be read",
    "{field} cannot be read and was left out; it must be {allowed}.",
    "Correct {field} in this row.",
)
_code(
    "value_missing",
    "parsed_roster",
    "skipped",
    "A required value that is blank",
    "{field} is blank; it must be {allowed}.",
    "Fill in {field} in this row.",
)
_code(
    "record_untyped",
    "parsed_roster",
    "skipped",
    "A record of no known type",
    "{field} does not say what the record is; it must be {allowed}.",
    "Fill in or correct {field} in this row.",
)
_code(
    "record_repeated",
    "parsed_roster",
    "reported",
    "A row that stands twice",
    "The row says exactly what an earlier row of the file says; it counts once.",
    "Send each record once.",
)
_code(
    "source_id_repeated",
    "parsed_roster",
    "skipped",
    "An id that stands for several records",
    "Several different rows of the file have this sourcedId; none of them was taken.",
    "Give each record its own sourcedId, or send it once.",
)

_code(
    "rows_too_many",
    "parsed_roster",
    "fatal",
    "Too many rows",
    "{file} has more than {limit} rows.",
    "Split the district.",
)
_code(
    "row_too_long",
    "parsed_roster",
    "fatal",
    "A row of endless length",
    "{file} has a row of several megabytes; it is damaged, or a quote is not closed.",
    "Export {file} again.",
)
_code(
    "field_too_long",
    "parsed_roster",
    "skipped",
    "A value of endless length",
    "The row holds a value, or in all, more than a roster can need.",
    "Correct the row; perhaps a quote is not closed.",
)
_code(
    "mode_unknown",
    "parsed_roster",
    "fatal",
    "A mode that is none",
    "manifest.csv says {found} for {field}; it must be bulk, delta or absent.",
    "Correct the value in row {row}.",
)
_code(
    "manifest_version",
    "parsed_roster",
    "reported",
    "manifest.version is not 1.0",
    "manifest.csv does not say 1.0 as its manifest.version (spreadsheets make 1 of it).",
    "Write 1.0; other receivers may refuse the delivery.",
)
_code(
    "file_announced",
    "parsed_roster",
    "fatal",
    "An announced file is missing",
    "manifest.csv announces {file} as {mode}, but it is not there.",
    "Send {file}, or say absent in manifest.csv.",
)
_code(
    "file_not_announced",
    "parsed_roster",
    "reported",
    "A file the manifest does not announce",
    "{file} is there, though manifest.csv says absent or nothing of it; it was read.",
    "Say bulk in manifest.csv.",
)
_code(
    "header_of_other_version",
    "parsed_roster",
    "reported",
    "Headers of another version",
    "{file} has the columns of OneRoster {used}, though the delivery says {claimed}."
    " It was read so.",
    "Export {file} in the version the manifest names.",
)
_code(
    "header_spelling",
    "parsed_roster",
    "reported",
    "Headers spelt otherwise",
    "{file} has headers in another spelling ({found}); they were read so.",
    "Spell the headers as the standard does; other receivers may refuse them.",
)
_code(
    "header_order",
    "parsed_roster",
    "reported",
    "Columns in another order",
    "The columns of {file} are in another order than the standard's; they were read by name.",
    "Nothing needs to be done here; other receivers may go by the order.",
)
_code(
    "file_without_rows",
    "parsed_roster",
    "reported",
    "A file with a header only",
    "{file} has no rows.",
    "If there should be some, look at the export; else nothing.",
)
_code(
    "status_in_bulk",
    "parsed_roster",
    "reported",
    "A status in a bulk file",
    "status says active in {file} ({count} times); in a bulk file every row is.",
    "Leave status and dateLastModified blank in bulk files.",
)
_code(
    "status_missing",
    "parsed_roster",
    "reported",
    "No status in a delta file",
    "Rows without status in {file} were taken as active ({count} of them).",
    "Say active or tobedeleted in each row of a delta file.",
)
_code(
    "removed_in_bulk",
    "parsed_roster",
    "reported",
    "A removal in a bulk file",
    "The row says that its record is to be deleted; it was left out.",
    "In a bulk file, leave the row out.",
)
_code(
    "dates_reversed",
    "parsed_roster",
    "skipped",
    "It ends before it begins",
    "The end date is before the start date.",
    "Correct the dates in this row.",
)
_code(
    "dates_dropped",
    "parsed_roster",
    "reported",
    "An enrollment that ends before it begins",
    "The end date is before the begin date and was left out.",
    "Correct the dates in this row.",
)
_code(
    "delta_without_base",
    "parsed_roster",
    "fatal",
    "Changes to a file we never had",
    "{file} is a delta, but no whole {file} was imported before.",
    "Send {file} as bulk first.",
)
_code(
    "user_without_role",
    "parsed_roster",
    "skipped",
    "A user without a role",
    "No row of roles.csv that can be read names this user.",
    "Add the user's role to roles.csv.",
)
_code(
    "role_without_user",
    "parsed_roster",
    "reported",
    "A role of nobody",
    "The role names a user who is in no row of users.csv.",
    "Send the user too, or leave it out.",
)
_code(
    "several_primary_roles",
    "parsed_roster",
    "reported",
    "Several primary roles",
    "The user has more than one primary role in the same organisation.",
    "Make one of them primary and the others secondary.",
)
_code(
    "several_primary_teachers",
    "parsed_roster",
    "reported",
    "Several primary teachers at once",
    "The class has another primary teacher at the same time.",
    "Say primary for one of them; co-teachers have primary false.",
)
_code(
    "role_unlike_user",
    "parsed_roster",
    "reported",
    "Enrolled as something else",
    "The person is enrolled in another role than she has in users.csv.",
    "Correct the role in one of the two files.",
)
_code(
    "attribute_not_to_be_had",
    "mapped_roster",
    "reported",
    "An attribute the files cannot have",
    "{attribute} of {enrollment_type} stays blank and is not required: {file} was not sent, or its "
    "version has no {field}.",
    "Send {file} in version 1.1 or later to have it.",
)
_code(
    "file_near_miss",
    "landing_snapshot",
    "reported",
    "A file whose name is not quite right",
    "{file} was not taken: it must be named {right}.",
    "Rename it to {right}.",
)

_code(
    "email_malformed",
    "complete_roster",
    "reported",
    "An e-mail that cannot be one",
    "The {noun}'s email has not the form of an address.",
    "Correct {field} in this row.",
)
_code(
    "mapped_header_missing",
    "mapped_roster",
    "fatal",
    "A mapped column is not in the files",
    "The settings read {attribute} of {enrollment_type} from {field}, which {file} does not have; "
    "it has {found}.",
    "Correct the attribute in the district's settings, or export the column.",
)
_code(
    "mapped_value_dropped",
    "mapped_roster",
    "reported",
    "A mapped value that cannot be read",
    "{field} cannot be read as {attribute} and was left out; it must be {allowed}.",
    "Correct {field} in this row.",
)
_code(
    "demographics_without_user",
    "mapped_roster",
    "reported",
    "Demographics of nobody",
    "No row of users.csv has the sourcedId of this row.",
    "Send the user too, or leave the row out.",
)

_code(
    "school_pending",
    "school_mapped_roster",
    "reported",
    "A school nobody has named yet",
    "It is not yet known which school of the warehouse this organisation is.",
    "`roster schools DISTRICT` lists what it may be: map it, make it a new school or ignore it, "
    "then `roster schools DISTRICT --run`.",
)
_code(
    "school_vanished",
    "school_mapped_roster",
    "reported",
    "A school that is not in the delivery any more",
    "A school of the warehouse is not in orgs.csv any more.",
    "If it is still there, send it with its records; if it has another id, map that to it.",
)

_code(
    "references_not_checked",
    "linked_roster",
    "reported",
    "References into a file not sent",
    "{file} was not sent and is not required, so references into it were not checked.",
    "Nothing needs to be done.",
)

for _attribute in dict.fromkeys(a.name for t in ENROLLMENT_TYPES.values() for a in t.attributes):
    CODES[f"{_attribute}_missing"] = _missing(_attribute)
    CODES[f"{_attribute}_duplicate"] = _duplicate(_attribute)
for _attribute in dict.fromkeys(a.name for t in ENROLLMENT_TYPES.values() for a in t.references):
    _code(
        f"{_attribute}_unknown",
        "linked_roster",
        "skipped",
        f"{_attribute} leads nowhere",
        "{field} names a record that will not be active after this import.",
        "Send the record it names, or correct {field} in this row.",
    )


def finding(code: str, **details: object) -> Finding:
    """One finding of a known code. Details that are fields of `Finding` are set; all of them may
    be named in the code's words."""
    spec = CODES[code]
    known = {f.name for f in fields(Finding)}
    severity = details.pop("severity", spec.severity)
    return Finding(
        stage=spec.stage,
        code=code,
        severity=severity,  # type: ignore[arg-type]
        message=spec.message.format(**details),
        how_to_fix=spec.how_to_fix.format(**details),
        **{key: value for key, value in details.items() if key in known},  # type: ignore[arg-type]
    )


_NO_FINDINGS = pd.DataFrame(
    {
        column: pd.Series([], dtype=INTEGER if column == "row" else TEXT)
        for column in FINDING_COLUMNS
    }
)


def findings_frame(findings: Iterable[Finding] = ()) -> pd.DataFrame:
    """Findings as a frame with FINDING_COLUMNS; empty when there are none."""
    rows = [asdict(f) for f in findings]
    if not rows:
        return _NO_FINDINGS.copy()
    return pd.DataFrame(
        {
            column: pd.Series(
                [row[column] for row in rows], dtype=INTEGER if column == "row" else TEXT
            )
            for column in FINDING_COLUMNS
        }
    )


def tell(
    code: str,
    rows: pd.DataFrame,
    *,
    field: str | None = None,
    attribute: str | None = None,
    severity: Severity | None = None,
    message: pd.Series[str] | None = None,
    how_to_fix: pd.Series[str] | None = None,
    cause: pd.Series[str] | None = None,
    **words: object,
) -> pd.DataFrame:
    """One finding of `code` for each of `rows`.

    rows: columns file, row, source_id and, where they are known, school and enrollment_type.
    message: one sentence a row, aligned with `rows`, where the code's template cannot say it.
    how_to_fix: one remedy a row, where it is another than the code's.
    cause: the record each is a consequence of, aligned with `rows`.
    words: what the code's sentences name. Returns a frame with FINDING_COLUMNS.
    """
    if rows.empty:
        return findings_frame()
    spec = CODES[code]
    words = {"attribute": attribute, "field": field, **words}
    constant = {
        "field": field,
        "attribute": attribute,
        "stage": spec.stage,
        "code": code,
        "severity": severity or spec.severity,
        "message": None if message is not None else spec.message.format(**words),
        "how_to_fix": spec.how_to_fix.format(**words),
        "cause": None,
    }
    told = pd.DataFrame(
        {name: pd.Series(value, rows.index, dtype=TEXT) for name, value in constant.items()}
    )
    for column in ("file", "row", "source_id", "school", "enrollment_type"):
        told[column] = rows[column] if column in rows else pd.Series(pd.NA, rows.index, dtype=TEXT)
    if message is not None:
        told["message"] = message
    if how_to_fix is not None:
        told["how_to_fix"] = how_to_fix.fillna(told["how_to_fix"])
    if cause is not None:
        told["cause"] = cause
    return told[list(FINDING_COLUMNS)]


def tell_records(
    code: str,
    enrollment_type: str,
    records: pd.DataFrame,
    attribute: str,
    source: str,
    *,
    severity: Severity | None = None,
    message: pd.Series[str] | None = None,
    how_to_fix: pd.Series[str] | None = None,
    cause: pd.Series[str] | None = None,
    **words: object,
) -> pd.DataFrame:
    """One finding of `code` about an attribute of each of `records`, rows of a type's frame.

    source: the `file.header` the attribute was read from; a student's demographics are pointed to
    in their own file, without a row where they have none there. Returns FINDING_COLUMNS.
    """
    file, _, header = source.partition(".")
    rows = records[["source_id", "file", "row"]].assign(
        school=school_of(enrollment_type, records),
        enrollment_type=pd.Series(enrollment_type, records.index, dtype=TEXT),
    )
    if file == "demographics":
        rows = rows.assign(file="demographics.csv", row=records["demographics_row"])
    noun = enrollment_type.replace("_", " ")
    return tell(
        code,
        rows,
        field=header,
        attribute=attribute,
        severity=severity,
        message=message,
        how_to_fix=how_to_fix,
        cause=cause,
        noun=noun,
        **words,
    )


def concat_findings(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All findings in one frame, in the order given."""
    full = [frame for frame in frames if len(frame)]
    return pd.concat(full, ignore_index=True) if full else findings_frame()


@dataclass(frozen=True)
class Outcome:
    """What a stage returns: the roster that goes on, and what is to be told."""

    roster: Roster
    findings: pd.DataFrame


class DeliveryRefused(Exception):
    """The delivery cannot be imported. Carries the fatal findings that say why and how to mend."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = list(findings)
        super().__init__(" ".join(f.message for f in self.findings))
