"""A district's file: what `roster district add` writes, and how its mistakes are told.

Guards that a key which stood twice was dropped without a word, and that unquoted grades, which
YAML reads as other numbers, filtered every student.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from roster_pipeline.districts.files import (
    DistrictFileError,
    Mistake,
    UnknownDistrict,
    add_district,
    aside_path,
    district_ids,
    load_district,
    load_districts,
    set_district_aside,
)
from roster_pipeline.districts.settings import DistrictSettings, settings_hash
from roster_pipeline.stages.data_requirements import Suites

DAY = date(2026, 11, 24)


def write(folder: Path, text: str, district_id: str = "anytown") -> Path:
    path = folder / f"{district_id}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(folder: Path, text: str) -> list[Mistake]:
    path = write(folder, text)
    with pytest.raises(DistrictFileError) as error:
        load_district(folder, "anytown")
    assert error.value.path == path
    assert all(str(path) in line for line in str(error.value).splitlines())
    return error.value.mistakes


@pytest.mark.parametrize(
    "name",
    [
        "Springfield Public Schools",
        "St. Mary's: «North» & South #1",
        'The "Best" {District}',
        "Ünïversität 学区",
        "123",
        "yes",
        "- dash",
        "A name that is so long that a dumper of YAML would like to break it into several lines, "
        "which it may, as long as it is read again as what it was",
    ],
)
def test_the_file_that_is_written_is_read_as_what_was_asked_for(tmp_path: Path, name: str) -> None:
    path = add_district(tmp_path, "anytown", name, "America/Chicago")
    assert path == tmp_path / "anytown.yaml"
    settings = load_district(tmp_path, "anytown")
    assert (settings.name, settings.timezone) == (name, "America/Chicago")


def test_every_example_in_the_written_file_is_valid_when_it_is_uncommented(tmp_path: Path) -> None:
    path = add_district(tmp_path, "anytown", "Anytown", "UTC")
    lines = path.read_text().splitlines()
    examples = [line.removeprefix("# ") for line in lines if ":" in line and line.startswith("# ")]
    examples = [line for line in examples if line[0] in " -" or line.split(":")[0] in KEYS]
    write(tmp_path, "\n".join([*examples, "name: Anytown"]))
    settings = load_district(tmp_path, "anytown")
    assert settings.attributes["student"]["state_id"] == "users.metadata.stateId"
    assert settings.user_types == {"aide": "teacher"}
    assert settings.data_requirements["student"]["email"] == "report"
    assert len(settings.filters) == 1


KEYS = set(DistrictSettings.model_fields)


def test_the_written_file_changes_no_result_and_names_its_command(tmp_path: Path) -> None:
    path = add_district(tmp_path, "anytown", "Anytown", "UTC")
    written, plain = load_district(tmp_path, "anytown"), DistrictSettings(name="Anytown")
    assert settings_hash(written, Suites({}), DAY) == settings_hash(plain, Suites({}), DAY)
    assert "`roster district check anytown`" in path.read_text()


def test_a_district_is_not_written_over(tmp_path: Path) -> None:
    path = add_district(tmp_path, "anytown", "Anytown", "UTC")
    with pytest.raises(FileExistsError):
        add_district(tmp_path, "anytown", "Other", "UTC")
    assert "Anytown" in path.read_text()


@pytest.mark.parametrize(
    "district_id",
    ["", "a", "A-town", "1town", "-town", "any_town", "any town", "../anytown", "ä-town", "x" * 64],
)
def test_an_id_that_could_not_be_a_partition_or_a_folder_is_refused(
    tmp_path: Path, district_id: str
) -> None:
    with pytest.raises(ValueError, match=r"cannot be a district's id.*small letters"):
        add_district(tmp_path, district_id, "Anytown", "UTC")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnknownDistrict):
        load_district(tmp_path, district_id)


@pytest.mark.parametrize("district_id", ["ab", "any-town-2", "x" * 63])
def test_an_id_of_small_letters_digits_and_hyphens_is_taken(
    tmp_path: Path, district_id: str
) -> None:
    add_district(tmp_path, district_id, "Anytown", "UTC")
    assert district_ids(tmp_path) == [district_id]


def test_an_unknown_time_zone_leaves_no_file_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean America/Chicago"):
        add_district(tmp_path, "anytown", "Anytown", "America/Chicgo")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_districts_are_not_listed(tmp_path: Path) -> None:
    for name in ("beta.yaml", "alpha.yaml", "Upper.yaml", "notes.txt", "alpha.yaml.bak"):
        (tmp_path / name).write_text("name: x\n")
    assert district_ids(tmp_path) == ["alpha", "beta"]


def test_an_unknown_district_is_told_with_the_nearest(tmp_path: Path) -> None:
    add_district(tmp_path, "springfield", "Springfield", "UTC")
    with pytest.raises(UnknownDistrict, match=r"no district 'sprngfield'.*mean springfield\?"):
        load_district(tmp_path, "sprngfield")
    with pytest.raises(UnknownDistrict, match="`roster district list` shows all"):
        load_district(tmp_path, "elsewhere")


TYPES = "school, academic_session, course, student, teacher, admin, contact, class, enrollment"


@pytest.mark.parametrize(
    ("text", "line", "key", "found", "says"),
    [
        ("name: A\ntimezone: Mars\n", 2, "timezone", "'Mars'", "allowed: time zones of the IANA"),
        (
            "name: A\ntimezone: America/New_Yrok\n",
            *(2, "timezone", "'America/New_Yrok'", "did you mean America/New_York?"),
        ),
        ("name: A\nfiltres: []\n", 2, "filtres", "filtres", "did you mean filters? allowed: "),
        ("timezone: UTC\n", 1, "name", "nothing", "it is required"),
        ("name: ''\n", 1, "name", "''", "it must not be empty"),
        ("name: 5\n", 1, "name", "5", "it must be text; put it into quotes"),
        (
            "name: A\nrequired_files:\n  - users\n  - enrolments\n",
            *(4, "required_files.1", "'enrolments'", "did you mean enrollments?"),
        ),
        (
            "name: A\nuser_types: {aide: techer}\n",
            *(2, "user_types.aide", "'techer'", "did you mean teacher? allowed: student, teacher"),
        ),
        (
            "name: A\nuser_types:\n  adie: teacher\n",
            *(3, "user_types.adie", "'adie'", "did you mean aide? allowed: student"),
        ),
        (
            "name: A\nattributes:\n  studnt: {sis_id: identifier}\n",
            *(3, "attributes.studnt", "'studnt'", f"did you mean student? allowed: {TYPES}"),
        ),
        (
            "name: A\nattributes:\n  student:\n    source_id: identifier\n",
            *(4, "attributes.student.source_id", "'source_id'", "and not "),
        ),
        (
            "name: A\ndata_requirements:\n  student:\n    email: reprot\n",
            *(4, "data_requirements.student.email", "'reprot'"),
            "did you mean report? allowed: skip, report, ignore",
        ),
        (
            "name: A\ndata_requirements:\n  student: {emial: skip}\n",
            *(3, "data_requirements.student.emial", "'emial'", "did you mean email?"),
        ),
        (
            "name: A\ndata_requirements:\n  pupil: {email: skip}\n",
            *(3, "data_requirements.pupil", "'pupil'", f"allowed: {TYPES}"),
        ),
        (
            "name: A\nfilters:\n  - student: {grade: {in: ['01']}}\n",
            *(3, "filters.0.student.grade", "'grade'", "did you mean grades?"),
        ),
        (
            "name: A\nfilters:\n  - student:\n      grades: {iin: ['01']}\n",
            *(
                4,
                "filters.0.student.grades.iin",
                "'iin'",
                "did you mean in? allowed: contains_text",
            ),
        ),
        (
            "name: A\nfilters:\n  - student: {grades: {in: ['01', 010]}}\n",
            *(3, "filters.0.student.grades.in", "'8'", '"08"'),
        ),
        (
            "name: A\nfilters:\n  - student: {birth_date: {before: May}}\n",
            *(3, "filters.0.student.birth_date", "{'before': 'May'}", "a day as YYYY-MM-DD"),
        ),
        (
            "name: A\nfilters: {student: {grades: {in: ['01']}}}\n",
            *(2, "filters", "{'student': {'grades': {'in': ['01']}}}", "it must be a list"),
        ),
        (
            "name: A\nuniqueness:\n  student:\n    - attributes: [sate_id]\n",
            *(4, "uniqueness.student.0", "'sate_id'", "did you mean sis_id?"),
        ),
        (
            "name: A\nuniqueness:\n  student:\n    - attributes: [email]\n      on_duplicates: x\n",
            *(5, "uniqueness.student.0.on_duplicates", "on_duplicates"),
            "did you mean on_duplicate? allowed: attributes, on_duplicate",
        ),
        (
            "name: A\nuniqueness:\n  student: [{attributes: [email], on_duplicate: skipall}]\n",
            *(3, "uniqueness.student.0.on_duplicate", "'skipall'", "did you mean skip_all?"),
        ),
        ("name: A\ntimezone: UTC\nname: B\n", 3, "name", "'name'", "it stands in line 1 already"),
        (
            "name: A\nattributes:\n  class: {sis_id: a}\n  class: {class_name: b}\n",
            *(4, "attributes.class", "'class'", "it stands in line 3 already"),
        ),
        ("- a\n", 1, "the file", "['a']", "it must be a mapping with a `name`"),
        ("", 1, "the file", "None", "it must be a mapping with a `name`"),
        ("name: A\nfilters: [\n", 3, "the file", "expected the node content", "it must be YAML"),
        ("name: A\n\ttimezone: UTC\n", 2, "the file", "found character '\\t'", "it must be YAML"),
    ],
)
def test_a_mistake_is_told_with_its_line_key_and_remedy(
    tmp_path: Path, text: str, line: int, key: str, found: str, says: str
) -> None:
    (mistake,) = mistakes(tmp_path, text)
    assert (mistake.line, mistake.key) == (line, key)
    assert mistake.found.startswith(found)
    assert says in mistake.allowed
    assert str(mistake) == f"line {line}, {key}: found {mistake.found}; {mistake.allowed}"


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
name: A
filters:
  - student: {shoe: {equals: a}}
user_types:
  aide: nobody
  monarch: admin
attributes:
  pupil: {sis_id: identifier}
"""
    assert [(m.line, m.key) for m in mistakes(tmp_path, text)] == [
        (3, "filters.0.student.shoe"),
        (5, "user_types.aide"),
        (6, "user_types.monarch"),
        (8, "attributes.pupil"),
    ]


def test_a_mistake_in_what_an_app_overrides_is_told_there_and_once(tmp_path: Path) -> None:
    text = """\
name: A
filters:
  - pupil: {grades: {equals: "01"}}
apps:
  csv_upload:
    user_types:
      aide: nobody
"""
    assert [(m.line, m.key) for m in mistakes(tmp_path, text)] == [
        (3, "filters.0.pupil"),
        (7, "apps.csv_upload.user_types.aide"),
    ]


def test_what_is_missing_is_told_at_the_line_it_is_missing_beneath(tmp_path: Path) -> None:
    (nameless,) = mistakes(tmp_path, "timezone: UTC\n")
    assert (nameless.line, nameless.key) == (1, "name")
    (without,) = mistakes(
        tmp_path, "name: A\nuniqueness:\n  student:\n    - {on_duplicate: report}\n"
    )
    assert (without.line, without.key) == (4, "uniqueness.student.0.attributes")


def test_rules_are_tried_in_the_place_of_the_files(tmp_path: Path) -> None:
    rules = 'filters: [{student: {grades: {equals: "01"}}}]'
    write(tmp_path, f"name: Zürich\n{rules}\nuser_types: {{aide: admin}}\n")
    tried = load_district(tmp_path, "anytown", filters=["teacher: {email: {is_not_empty: }}"])
    assert tried.filters == ({"teacher": {"email": {"is_not_empty": None}}},)
    assert (tried.name, tried.user_types) == ("Zürich", {"aide": "admin"})
    assert "student" in load_district(tmp_path, "anytown").filters[0]


def test_a_mistake_in_a_rule_that_is_tried_is_told_like_one_in_the_file(tmp_path: Path) -> None:
    write(tmp_path, "name: A\n")
    with pytest.raises(DistrictFileError) as error:
        load_district(tmp_path, "anytown", filters=["student: {shoe: {equals: a}}"])
    (mistake,) = error.value.mistakes
    assert mistake.key == "filters.0.student.shoe"


def test_a_file_that_is_not_utf_8_is_told_and_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "anytown.yaml").write_bytes("name: Zürich\n".encode("cp1252"))
    with pytest.raises(DistrictFileError, match="must be YAML in UTF-8"):
        load_district(tmp_path, "anytown")


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, f"name: A\ntimezone: {'x' * 200}\n")
    assert len(mistake.found) == 60
    assert mistake.found.endswith("…")


def test_an_own_attribute_may_be_named_wherever_attributes_are(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
name: A
attributes: {student: {state_id: metadata.stateId}}
data_requirements: {student: {state_id: skip}}
uniqueness: {student: [{attributes: [state_id, birth_date], on_duplicate: report}]}
filters: [{student: {state_id: {is_not_empty: }}}]
""",
    )
    settings = load_district(tmp_path, "anytown")
    assert settings.uniqueness["student"][0].attributes == ("state_id", "birth_date")
    assert settings.filters[0]["student"]["state_id"] == {"is_not_empty": None}


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, "name: !!python/object/apply:os.system ['true']\n")
    assert "constructor" in mistake.found


def test_all_districts_are_read_and_those_with_mistakes_say_so(tmp_path: Path) -> None:
    add_district(tmp_path, "oak", "Oak County", "UTC")
    (tmp_path / "elm.yaml").write_text("nam: Elm\n")
    known = load_districts(tmp_path)
    assert list(known) == ["elm", "oak"]
    assert isinstance(known["elm"], DistrictFileError)
    assert isinstance(known["oak"], DistrictSettings) and known["oak"].name == "Oak County"


def test_only_a_file_that_changed_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_district(tmp_path, "oak", "Oak County", "UTC")
    add_district(tmp_path, "elm", "Elm", "UTC")
    load_districts(tmp_path)
    read: list[str] = []

    def load(folder: Path, district_id: str) -> DistrictSettings:
        read.append(district_id)
        return load_district(folder, district_id)

    monkeypatch.setattr("roster_pipeline.districts.files.load_district", load)
    (tmp_path / "elm.yaml").write_text("name: Elm Valley\n")
    known = load_districts(tmp_path)
    assert read == ["elm"]
    assert isinstance(known["elm"], DistrictSettings) and known["elm"].name == "Elm Valley"
    (tmp_path / "elm.yaml").unlink()
    assert list(load_districts(tmp_path)) == ["oak"]


def test_a_file_that_goes_while_all_are_read_is_no_district(tmp_path: Path) -> None:
    add_district(tmp_path, "oak", "Oak County", "UTC")
    (tmp_path / "elm.yaml").symlink_to(tmp_path / "gone.yaml")
    assert list(load_districts(tmp_path)) == ["oak"]


def test_a_district_that_is_set_aside_keeps_its_file_and_is_one_no_more(tmp_path: Path) -> None:
    path = add_district(tmp_path, "oak", "Oak County", "UTC")
    text = path.read_text()
    aside = set_district_aside(tmp_path, "oak")
    assert aside == aside_path(tmp_path, "oak") and aside.read_text() == text
    assert district_ids(tmp_path) == []
    with pytest.raises(UnknownDistrict):
        set_district_aside(tmp_path, "oak")
