"""Reads and writes `districts/<id>.yaml`, and says of a wrong one what to mend and where."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from roster_pipeline.districts.settings import DistrictSettings, Sections, is_district_id
from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.oneroster.standard import DATA_FILES, GRADES
from roster_pipeline.stages.attributes import DEFAULT_SOURCES
from roster_pipeline.stages.parse import DEFAULT_USER_TYPES, IGNORED

TEMPLATE = """\
# How the deliveries of this district are imported. Every key but the name has a default; what is
# commented out shows it or an example. `roster district check {id}` says what is wrong in it.

name: {name}
timezone: {timezone}

# Which data files a delivery must hold (manifest.csv tells the version and may be left out).
# required_files: [{files}]

# attribute: file.header, by enrollment type. An attribute we do not have is kept in `extra`.
# attributes:
#   student: {{sis_id: users.identifier, state_id: users.metadata.stateId}}

# Which role is which enrollment type: student, teacher, admin, contact, or ignore.
# user_types: {{aide: teacher}}

# What becomes of a record without an attribute: skip, report or ignore.
# data_requirements:
#   student: {{email: report}}

# Only records that a rule includes are kept; several rules of a type are joined by OR.
# filters:
#   - student: {{grades: {{in: [KG, "01", "02", "03", "04", "05"]}}}}

# Beside the built-in ones (e-mail and SIS id among students, teachers and admins), what no two
# records may share. on_duplicate: report, skip_all or keep_first.
# uniqueness:
#   student: [{{attributes: [state_id], on_duplicate: report}}]

# How deliveries come; an app that is not named is not active. Each may set any section anew.
# apps:
#   sftp: {{server: hosted, trigger: [on_arrival, schedule]}}
#   csv_upload: {{}}

# When to import by the clock: daily, weekdays, or weekly with days; in the time zone above.
# schedule: {{when: weekdays, at: "02:00", until: 2027-06-30}}

# Who gets the daily digest, and who is told at once when something needs a person.
# notifications: {{digest: [roster@springfield.example], alerts: [it@springfield.example]}}

# An import's report has people by id, with their names masked (J*** S****) unless this is true.
# reports: {{show_names: false}}

# Schools the warehouse does not know: auto_map finds them by identifier or name, else makes a new
# one; all_missing_as_new makes a new one; without either the import waits: `roster schools {id}`.
schools: {{auto_map: {auto_map}, all_missing_as_new: false}}

# An import waits for `roster approve` when it would update or delete more of a type than this share
# (in percent), delete more of one school, or leave out more rows with faults. preview: every import
# waits. Changes of fewer than minimum_records never hold. Without a key, that threshold is off.
hold:
  preview: false
  update_percent: 35
  delete_percent: 10
  school_delete_percent: 25
  reject_percent: 20
  minimum_records: 5
"""

_IN_WORDS = {
    "dict_type": "it must be a mapping, key: value",
    "model_type": "it must be a mapping, key: value",
    "string_too_short": "it must not be empty",
    "string_type": "it must be text; put it into quotes",
    "too_short": "it must not be empty",
    "tuple_type": "it must be a list, each item after a -",
}
"""What pydantic says in the words of Python, in those of a file."""


@dataclass(frozen=True)
class Mistake:
    """One wrong setting: the line in the file, the key, what was found, and what is allowed."""

    line: int
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"line {self.line}, {self.key}: found {self.found}; {self.allowed}"


class DistrictFileError(Exception):
    """A district's file cannot be used. Carries the mistakes in the order of the file."""

    def __init__(self, path: Path, mistakes: list[Mistake]) -> None:
        self.path = path
        self.mistakes = sorted(mistakes, key=lambda m: m.line)
        super().__init__("\n".join(f"{path}: {mistake}" for mistake in self.mistakes))


class UnknownDistrict(Exception):
    """There is no file for this district."""


Known = DistrictSettings | DistrictFileError
_known: dict[Path, tuple[tuple[int, int, int], Known]] = {}
"""What `load_districts` has read, by file: which state of it, and what came of it."""


def district_ids(folder: Path) -> list[str]:
    """The ids of all districts that have a file."""
    return sorted(p.stem for p in folder.glob("*.yaml") if is_district_id(p.stem))


def district_path(folder: Path, district_id: str) -> Path:
    """Where a district's file is. Raises UnknownDistrict, naming the nearest id."""
    path = folder / f"{district_id}.yaml"
    if is_district_id(district_id) and path.is_file():
        return path
    near = difflib.get_close_matches(district_id, district_ids(folder), 1)
    hint = f"did you mean {near[0]}?" if near else "`roster district list` shows all districts."
    raise UnknownDistrict(f"There is no district {district_id!r} in {folder}; {hint}")


def load_districts(folder: Path) -> dict[str, Known]:
    """The settings of all districts by id; of a file with mistakes, the error that tells them.

    A file that did not change since this process last read it is not read again, so that
    thousands of districts can be gone through every minute.
    """
    found: dict[str, Known] = {}
    for district_id in district_ids(folder):
        path = folder / f"{district_id}.yaml"
        try:
            seen = path.stat()
            state = (seen.st_mtime_ns, seen.st_size, seen.st_ino)
            known = _known.get(path)
            if known is None or known[0] != state:
                known = _known[path] = state, load_district(folder, district_id)
        except (FileNotFoundError, UnknownDistrict):  # removed just now
            continue
        except DistrictFileError as error:
            known = _known[path] = state, error
        found[district_id] = known[1]
    return found


def load_district(
    folder: Path, district_id: str, *, filters: Sequence[str] | None = None
) -> DistrictSettings:
    """The settings of a district. Raises UnknownDistrict or DistrictFileError.

    filters: filter rules in YAML to be tried in the place of the file's; lines in mistakes about
    them are those of a file that ends with them.
    """
    path = district_path(folder, district_id)
    try:
        text = path.read_text(encoding="utf-8")
        if filters:
            kept = {k: v for k, v in yaml.safe_load(text).items() if k != "filters"}
            rules = [yaml.safe_load(rule) for rule in filters]
            text = yaml.safe_dump({**kept, "filters": rules}, sort_keys=False, allow_unicode=True)
        node, repeated, content = _parsed(text)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error)
        raise DistrictFileError(
            path, [Mistake(line, "the file", problem, "it must be YAML in UTF-8")]
        ) from error
    if not isinstance(content, dict):
        raise DistrictFileError(
            path, [Mistake(1, "the file", _shown(content), "it must be a mapping with a `name`")]
        )
    if repeated:
        raise DistrictFileError(path, repeated)
    try:
        settings = DistrictSettings.model_validate(content)
    except ValidationError as error:
        mistakes = [_mistake(node, content, dict(e)) for e in error.errors()]
        raise DistrictFileError(path, mistakes) from error
    wrong = [
        Mistake(_line(node, loc), _key(loc), _shown(found), _nearest(str(found), allowed))
        for loc, found, allowed in _unknown_words(settings)
    ]
    if wrong:
        raise DistrictFileError(path, wrong)
    return settings


def _parsed(text: str) -> tuple[yaml.Node | None, list[Mistake], Any]:
    """A document as nodes, with their lines, the keys that stand twice in it, and what it says.
    Raises YAMLError."""
    try:
        # libyaml, where PyYAML was built with it, is twenty times as fast.
        return _read(getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text))
    except yaml.YAMLError:
        # What is wrong, PyYAML itself says better.
        return _read(yaml.SafeLoader(text))


def _read(loader: Any) -> tuple[yaml.Node | None, list[Mistake], Any]:
    try:
        node = loader.get_single_node()
        # Before anything is made of the nodes, since that puts merged keys into them.
        repeated = list(_repeated_keys(node))
        return node, repeated, None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _repeated_keys(node: yaml.Node | None, loc: tuple[Any, ...] = ()) -> Iterator[Mistake]:
    """Keys that stand twice in one mapping; YAML would take the last without a word."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated_keys(item, (*loc, index))
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            place = (*loc, key.value)
            if key.value in first:
                says = f"it stands in line {first[key.value]} already; put them together"
                yield Mistake(line, _key(place), _shown(key.value), says)
            first.setdefault(key.value, line)
            yield from _repeated_keys(value, place)


Place = tuple[str | int, ...]


def _unknown_words(settings: DistrictSettings) -> Iterator[tuple[Place, str, list[str]]]:
    """Words whose vocabulary is ours, not the schema's: (place, word, allowed words)."""
    yield from _unknown_in_sections(settings)
    for app in settings.active_apps():
        own: set[str] = getattr(settings.apps, app).model_fields_set
        for place, word, allowed in _unknown_in_sections(settings.for_app(app)):
            if place[0] in own:
                yield ("apps", app, *place), word, allowed


def _unknown_in_sections(settings: Sections) -> Iterator[tuple[Place, str, list[str]]]:
    types = list(ENROLLMENT_TYPES)
    for index, file in enumerate(settings.required_files):
        if file not in DATA_FILES:
            yield ("required_files", index), file, list(DATA_FILES)
    for role, target in settings.user_types.items():
        allowed = ["student", "teacher", "admin", "contact", IGNORED]
        if target not in allowed:
            yield ("user_types", role), target, allowed
        if role not in DEFAULT_USER_TYPES and not role.startswith("ext:"):
            yield ("user_types", role), role, list(DEFAULT_USER_TYPES)
    for section in ("attributes", "data_requirements", "uniqueness"):
        for name in getattr(settings, section):
            if name not in types:
                yield (section, name), name, types
    for name, requirements in settings.data_requirements.items():
        attributes = _attributes(settings, name)
        for attribute in requirements:
            if name in types and attribute not in attributes:
                yield ("data_requirements", name, attribute), attribute, attributes
    for name, domains in settings.uniqueness.items():
        for index, domain in enumerate(domains):
            for attribute in domain.attributes:
                if name in types and attribute not in _attributes(settings, name):
                    yield ("uniqueness", name, index), attribute, _attributes(settings, name)
    for index, rule in enumerate(settings.filters):
        for name, by_attribute in rule.items():
            if name not in types:
                yield ("filters", index, name), name, types
                continue
            for attribute, conditions in by_attribute.items():
                place = ("filters", index, name, attribute)
                if attribute not in _attributes(settings, name):
                    yield place, attribute, _attributes(settings, name)
                elif attribute == "grades":
                    # YAML reads an unquoted 010 as 8; a grade nobody has would filter everybody.
                    for condition, values in conditions.items():
                        words = values if isinstance(values, tuple) else (values,)
                        for word in words if condition in ("equals", "in", "not_in") else ():
                            if word not in GRADES:
                                yield (*place, condition), str(word), [f'"{g}"' for g in GRADES]


def _attributes(settings: Sections, enrollment_type: str) -> list[str]:
    """The attributes a type has in this district, the district's own last."""
    default = DEFAULT_SOURCES.get(enrollment_type, {})
    return list(dict.fromkeys([*default, *settings.attributes.get(enrollment_type, {})]))


def _mistake(node: yaml.Node | None, content: Any, error: dict[str, Any]) -> Mistake:
    # Names of a union's branches are no keys of the file.
    loc = tuple(
        p
        for p in error["loc"]
        if p != "[key]" and not (p in ("hosted", "own") and "server" in error["loc"])
    )
    if error["type"] == "extra_forbidden":
        return Mistake(
            _line(node, loc), _key(loc), str(loc[-1]), _nearest(str(loc[-1]), _keys_at(loc[:-1]))
        )
    if error["type"] == "missing":
        return Mistake(_line(node, loc[:-1]), _key(loc), "nothing", "it is required")
    expected = error.get("ctx", {}).get("expected")
    if error["type"] == "literal_error":
        says = _nearest(str(error["input"]), re.findall(r"'([^']+)'", str(expected)))
    else:
        says = _IN_WORDS.get(error["type"], error["msg"].removeprefix("Value error, "))
    return Mistake(_line(node, loc), _key(loc), _shown(error["input"]), says)


def _keys_at(loc: tuple[Any, ...]) -> list[str]:
    """The keys the model at a place allows: of the district, an app, a section, or an item."""
    model: type[BaseModel] = DistrictSettings
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = next(_models_in(field.annotation), None) if field else None
        model = inner or model
    return list(model.model_fields)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The models somewhere in a type: that of an optional section, of a list's items."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _nearest(word: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(word, allowed, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}allowed: {', '.join(allowed)}"


def _key(loc: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in loc) or "the file"


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _line(node: yaml.Node | None, loc: tuple[Any, ...]) -> int:
    """The line (from 1) of the deepest node on the way to a place in the file."""
    line = 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next((p for p in node.value if p[0].value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif (
            isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value)
        ):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def set_district_aside(folder: Path, district_id: str) -> Path:
    """Rename a district's file, so that it is a district no more; where the file is then. Raises
    UnknownDistrict."""
    path = district_path(folder, district_id)
    return path.rename(aside_path(folder, district_id))


def aside_path(folder: Path, district_id: str) -> Path:
    """Where a removed district's file is."""
    return folder / f"{district_id}.yaml.removed"


def add_district(
    folder: Path, district_id: str, name: str, timezone: str, *, auto_map: bool = True
) -> Path:
    """Write a district's file with comments and the recommended settings.

    Raises ValueError when the id or the time zone is not allowed, FileExistsError when the district
    has a file.
    """
    if not is_district_id(district_id):
        raise ValueError(
            f"{district_id!r} cannot be a district's id; it must be 2 to 63 small letters, digits "
            "and hyphens, beginning with a letter"
        )
    settings = DistrictSettings(name=name, timezone=timezone)
    path = folder / f"{district_id}.yaml"
    text = TEMPLATE.format(
        id=district_id,
        name=yaml.safe_dump(settings.name, allow_unicode=True).strip().removesuffix("\n..."),
        timezone=settings.timezone,
        files=", ".join(DATA_FILES),
        auto_map=str(auto_map).lower(),
    )
    with path.open("x", encoding="utf-8") as stream:
        stream.write(text)
    return path
