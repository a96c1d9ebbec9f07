"""The pages of docs/ that are written from the code: settings, findings, statuses.

Pure text: what a page says stands beside the settings, codes and statuses themselves. Here is only
what they have no room for: an example of each variable, and what each condition means.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from roster_pipeline import settings as environment
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings import CODES, Code, Severity
from roster_pipeline.reports.statuses import OUTCOME_WORDS, STATUS_WORDS, WHAT_TO_DO
from roster_pipeline.stages.attributes import DEFAULT_SOURCES
from roster_pipeline.stages.data_requirements import NOT_NULL, load_suites
from roster_pipeline.stages.filters import Condition
from roster_pipeline.stages.parse import DEFAULT_USER_TYPES

DOCS = Path(__file__).parent
EXAMPLE = DOCS / "state.example.yaml"
FIRST_LINE = "<!-- Written by docs/generate.py (make docs) from the code. -->\n"

VARIABLES: dict[str, str] = {
    "ROSTER_HOME": "/var/lib/roster",
    "ROSTER_WAREHOUSE_URL": "postgresql://roster:secret@db.example:5432/warehouse",
    "ROSTER_ARCHIVE_URL": "s3://my-bucket/roster/archive",
    "ROSTER_ARTIFACTS_URL": "s3://my-bucket/roster/artifacts",
    "ROSTER_EXPECTATIONS": "/etc/roster/expectations",
    "DAGSTER_HOME": "/var/lib/roster/dagster",
    "DAGSTER_POSTGRES_URL": "postgresql+psycopg2://dagster:secret@db.example:5432/dagster",
    "ROSTER_CELERY_URL": "redis://:secret@queue.example:6379/0",
    "ROSTER_USER": "Mary Hill",
    "ROSTER_LANDING_HOST": "0.0.0.0",  # noqa: S104 (an example)
    "ROSTER_LANDING_PORT": "22",
    "SENDGRID_API_KEY": "SG.xxxx",
    "ROSTER_SMTP_URL": "smtp://roster:secret@mail.example:587",
    "ROSTER_MAIL_FROM": "Roster <roster@agency.example>",
    "ROSTER_SENDGRID_URL": "https://api.eu.sendgrid.com",
    "ROSTER_OPERATORS": "ops@agency.example, night@agency.example",
    "ROSTER_UI_URL": "https://roster.agency.example",
    "ROSTER_KEEP_LANDING_DAYS": "7",
    "ROSTER_KEEP_ARCHIVE_DAYS": "365",
    "ROSTER_KEEP_REFUSED_DAYS": "30",
    "ROSTER_KEEP_ARTIFACTS_DAYS": "7",
}
"""Each variable of the environment, with an example."""

SHAPES: dict[str, str] = {
    "required_files": "list of file names without .csv",
    "attributes": "TYPE: {attribute: file.header, …}",
    "user_types": "{role: type or `ignore`, …}",
    "data_requirements": "TYPE: {attribute: `skip` or `report` or `ignore`, …}",
    "filters": "list of TYPE: {attribute: {condition: value}, …}",
    "uniqueness": "TYPE: list of the keys below",
}
"""What a value may be, where its words are those of a roster."""

CONDITIONS: dict[Condition, tuple[str, str]] = {
    "equals": ("is this value", "{gender: {equals: female}}"),
    "in": ("is one of these values", '{grades: {in: ["09", "10", "11", "12"]}}'),
    "not_in": ("is none of these values", '{primary_school: {not_in: ["9001", "9002"]}}'),
    "contains_text": (
        "has this text in it, or one of several; capitals do not matter",
        "{class_name: {contains_text: Algebra}}",
    ),
    "does_not_contain_text": (
        "has none of these texts in it; capitals do not matter",
        "{class_name: {does_not_contain_text: [Homeroom, Lunch]}}",
    ),
    "starts_with": ("begins with this text, or one of several", "{class_code: {starts_with: MA}}"),
    "matches": (
        "fits this regular expression (RE2) from its first to its last letter",
        '{sis_id: {matches: "S[0-9]+"}}',
    ),
    "is_empty": ("has no value", "{end_date: {is_empty: true}}"),
    "is_not_empty": ("has a value", "{email: {is_not_empty: true}}"),
    "before": ("is a day before this one", "{begin_date: {before: 2026-09-01}}"),
    "after": ("is a day after this one", "{end_date: {after: 2026-09-01}}"),
    "is_past": ("is a day before today, by the district's clock", "{end_date: {is_past: true}}"),
    "is_future": ("is a day after today", "{end_date: {is_future: true}}"),
}
"""What each condition of a filter rule means, and an example."""

SEVERITIES: dict[Severity, str] = {
    "fatal": "the delivery is refused",
    "skipped": "the record is left out",
    "reported": "the record goes in; an optional value may have been dropped",
}

STAGES: dict[str, str] = {
    "landing_snapshot": "What arrived",
    "parsed_roster": "Reading the files",
    "mapped_roster": "Attributes",
    "complete_roster": "Required data",
    "unique_roster": "Uniqueness",
    "linked_roster": "References",
    "school_mapped_roster": "Schools",
    "sync_plan": "The plan",
}


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(
        f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in line)} |\n"
        for line in lines
    )


# --- settings.md ---------------------------------------------------------------------------------


def settings_page() -> str:
    """Every key of a district's file and every variable of the environment."""
    schema = DistrictSettings.model_json_schema()
    keys = _in_the_order_of_the_example(schema["properties"])
    sections = "\n".join(_section(key, schema, examples()) for key in keys)
    return f"""{FIRST_LINE}
# Settings

A district's settings are one file, `districts/ID.yaml` in `ROSTER_HOME`; what holds for the whole
installation are [variables of the environment](#the-environment). `roster district add` writes the
file, `roster district check ID` names the line and key of a mistake, `roster district show ID`
prints all settings with their defaults, and `roster district schema` is for editors. A change holds
from the next import on. TYPE stands for an [enrollment type](#enrollment-types-and-attributes). The
examples are pieces of [state.example.yaml](state.example.yaml).

## A district's file

{table(["key", "what it does"], _overview(schema, keys))}
{sections}
{_words()}
## The environment

All are optional; one that is empty counts as not set.

{table(["variable", "what it is", "example"], _variables())}
Where `ROSTER_ARCHIVE_URL` and `ROSTER_ARTIFACTS_URL` name an object store, its login stands in the
variables of the store's own package; see
[deploy](../deploy/README.md#archive-and-artifacts-in-an-object-store).
"""


def examples() -> dict[str, str]:
    """The piece of state.example.yaml on each of a district's keys, with what is said above it."""
    text = EXAMPLE.read_text(encoding="utf-8").split("\n\n", 1)[1]
    blocks = re.split(r"\n(?=\w+:|# )", text)
    found: dict[str, str] = {}
    said = ""
    for block in blocks:
        if block.startswith("#"):
            said += f"{block.strip()}\n"
        else:
            found[block.partition(":")[0]] = said + block.strip()
            said = ""
    return found


def _in_the_order_of_the_example(properties: Mapping[str, Any]) -> list[str]:
    first = [key for key in examples() if key in properties]
    return [*first, *(key for key in properties if key not in first)]


def _overview(schema: Mapping[str, Any], keys: Iterable[str]) -> Iterable[list[str]]:
    for key in keys:
        yield [f"[`{key}`](#{key})", schema["properties"][key].get("description", "")]


def _section(key: str, schema: Mapping[str, Any], shown: Mapping[str, str]) -> str:
    """One key of a district's file with the keys below it."""
    what = schema["properties"][key]
    rows = [_row(key, key in schema["required"], what, schema), *_below(key, what, schema)]
    head = ["key", "what it may be", "default", "what it does"]
    example = f"\n```yaml\n{shown[key]}\n```\n" if key in shown else ""
    return f"### {key}\n\n{table(head, rows)}{example}"


def _below(key: str, what: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterable[list[str]]:
    for place, model in _models(key, what, schema):
        for name, inner in model["properties"].items():
            # An app may set all sections anew; they are told once.
            if place.startswith("apps.") and name in schema["properties"]:
                continue
            required = name in model.get("required", ())
            yield _row(f"{place}.{name}", required, inner, schema)
            yield from _below(f"{place}.{name}", inner, schema)


def _models(
    place: str, what: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The sections that a value is, may be, or holds, and where."""
    if "$ref" in what:
        yield place, schema["$defs"][what["$ref"].rpartition("/")[2]]
    for choice in (*what.get("anyOf", ()), *what.get("oneOf", ())):
        yield from _models(place, choice, schema)
    if isinstance(what.get("items"), dict):
        yield from _models(f"{place}[]", what["items"], schema)
    if isinstance(what.get("additionalProperties"), dict):
        yield from _models(f"{place}.TYPE", what["additionalProperties"], schema)


def _row(
    place: str, required: bool, what: Mapping[str, Any], schema: Mapping[str, Any]
) -> list[str]:
    return [
        f"`{place}`",
        SHAPES.get(place) or _kind(what, schema),
        "required" if required else _default(what),
        what.get("description", ""),
    ]


def _default(what: Mapping[str, Any]) -> str:
    value = what.get("default")
    if "$ref" in what:
        return ""
    if value is None or value in ({}, []):
        return "none"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _kind(what: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in what:
        return "the keys below"
    if "const" in what:
        return f"`{what['const']}`"
    if "enum" in what:
        return " or ".join(f"`{word}`" for word in what["enum"])
    choices = what.get("anyOf") or what.get("oneOf")
    if choices:
        return " or ".join(
            dict.fromkeys(_kind(c, schema) for c in choices if c.get("type") != "null")
        )
    if what["type"] == "array":
        return f"list of: {_kind(what['items'], schema)}"
    if what["type"] == "object":
        inner = what["additionalProperties"]
        return f"mapping to: {_kind(inner, schema)}"
    return {
        "boolean": "`true` or `false`",
        "integer": f"whole number{_limits(what)}",
        "number": f"number{_limits(what)}",
        "string": "day, YYYY-MM-DD" if what.get("format") == "date" else "text",
    }[what["type"]]


def _limits(what: Mapping[str, Any]) -> str:
    low, high = what.get("minimum"), what.get("maximum")
    return (f" from {low:g}" if low is not None else "") + (
        f" to {high:g}" if high is not None else ""
    )


def _words() -> str:
    """The words that sections are made of: types, attributes, roles, conditions."""
    suites = load_suites(environment.project_folder() / "expectations")
    required: dict[str, dict[str, str]] = defaultdict(dict)
    for name, suite in suites.by_type.items():
        for expectation in suite["expectations"]:
            if expectation["type"] == NOT_NULL:
                attribute = expectation["kwargs"]["column"]
                required[name][attribute] = expectation["meta"]["on_missing"]
    attributes = [
        [
            f"`{name}`" if index == 0 else "",
            f"`{attribute}`",
            f"`{source}`",
            ENROLLMENT_TYPES[name].attribute(attribute).kind,
            required[name].get(attribute, ""),
        ]
        for name, sources in DEFAULT_SOURCES.items()
        for index, (attribute, source) in enumerate(sources.items())
    ]
    roles = [[f"`{role}`", f"`{name}`"] for role, name in DEFAULT_USER_TYPES.items()]
    conditions = [[f"`{c}`", what, f"`{example}`"] for c, (what, example) in CONDITIONS.items()]
    return f"""## Words of a district's file

### Enrollment types and attributes

What `attributes`, `filters`, `data_requirements` and `uniqueness` may name, where each attribute is
read from unless `attributes` says else, and what becomes of a record without it unless
`data_requirements` says else.

{table(["type", "attribute", "read from", "kind", "without it"], attributes)}
### Conditions of a filter

A rule is `- TYPE: {{attribute: {{condition: value}}}}`. On a list, such as `grades`, a condition
holds if it does for any of its elements.

{table(["condition", "holds if the attribute", "example"], conditions)}
### Roles

Which enrollment type a role of users.csv or roles.csv is, unless `user_types` says else; case does
not matter.

{table(["role", "type"], roles)}"""


def variables_of(docstring: str) -> dict[str, str]:
    """The variables a docstring lists, with what it says about each."""
    entry = re.compile(r"^    ([A-Z][A-Z_]+)  +(.*(?:\n {8,}.*)*)", re.MULTILINE)
    return {name: " ".join(what.split()) for name, what in entry.findall(docstring)}


def _variables() -> Iterable[list[str]]:
    for name, what in variables_of(environment.__doc__ or "").items():
        days = "for how many days is kept: " if name.endswith("_DAYS") else ""
        yield [f"`{name}`", days + what, f"`{VARIABLES.get(name)}`"]


# --- findings.md ---------------------------------------------------------------------------------


def findings_page() -> str:
    """Every finding code: what happened, and what to do."""
    by_stage: dict[str, dict[str, Code]] = defaultdict(dict)
    for code, what in CODES.items():
        by_stage[what.stage][code] = what
    severities = [[f"`{severity}`", words] for severity, words in SEVERITIES.items()]
    chapters = "\n".join(
        f"## {STAGES[stage]}\n\nFound by the stage `{stage}`.\n\n"
        + "\n".join(_code(code, what) for code, what in by_stage[stage].items())
        for stage in STAGES
        if stage in by_stage
    )
    return f"""{FIRST_LINE}
# Findings

Each thing that is told about a record or a file has a code. `roster findings IMPORT` lists them
with file, row and id, `--code CODE` those of one code, `--causes` what to mend first. What stands
in *italics* here is named in the message itself.

{table(["severity", "what it means"], severities)}
An attribute of a district's own may be required or unique too: its codes are called as those of
`email`, such as `state_id_missing` and `state_id_duplicate`.

{chapters}"""


def _code(code: str, what: Code) -> str:
    attribute, _, kind = code.rpartition("_")
    message = what.message
    if kind in ("missing", "duplicate"):
        message = message.replace("{attribute}", f"`{attribute}`")
    return (
        f"### {code}\n\n**{what.title}** (`{what.severity}`)\n\n"
        f"{_italics(message)}\n\nWhat to do: {_italics(what.how_to_fix)}\n"
    )


def _italics(text: str) -> str:
    """The message with its gaps named: `{file}` as *file*."""
    return re.sub(r"\{(\w+)[^}]*\}", lambda m: f"*{m[1].replace('_', ' ')}*", text)


# --- statuses.md ---------------------------------------------------------------------------------


def statuses_page() -> str:
    """Every status of an import and every outcome of a record."""
    statuses = "\n".join(
        f"### {status}\n\n**{short}.** {sentence}\n\nWhat to do: {WHAT_TO_DO[status]}\n"
        for status, (short, sentence) in STATUS_WORDS.items()
    )
    outcomes = "\n".join(
        f"### {outcome}\n\n{what}\n\nWhat to do: {to_do}\n"
        for outcome, (what, to_do) in OUTCOME_WORDS.items()
    )
    return f"""{FIRST_LINE}
# Statuses and outcomes

What `roster imports` and `roster show` say, and what to do about it. IMPORT stands for an import's
number, ID for the district's id.

## Statuses of an import

{statuses}
## Outcomes of a record

Each record of a delivery ends in exactly one outcome; their counts add up to `received`. `deleted`
and `kept` are of records of the warehouse and are counted beside the sum.

{outcomes}"""
