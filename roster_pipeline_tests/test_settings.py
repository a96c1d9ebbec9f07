"""The environment's variables: their defaults, what is refused, and what the home looks like."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from roster_pipeline.settings import (
    WRITTEN_BY_ROSTER,
    KeepDays,
    LandingAddress,
    SettingsError,
    SmtpServer,
    load_keep_days,
    load_landing_address,
    load_mail_settings,
    load_settings,
    prepare_home,
    project_folder,
)


def test_without_variables_everything_is_under_dot_roster_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({})
    assert settings.home == tmp_path / ".roster"
    assert settings.warehouse_url == f"sqlite:///{tmp_path}/.roster/warehouse.db"
    assert settings.dagster == tmp_path / ".roster" / "dagster"
    assert settings.expectations == project_folder() / "expectations"
    assert settings.archive_url == f"{tmp_path}/.roster/archive"
    assert settings.artifacts_url == f"{tmp_path}/.roster/artifacts"
    assert all(path.is_relative_to(settings.home) for path in settings.folders)


def test_an_empty_variable_counts_as_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["ROSTER_HOME", "ROSTER_WAREHOUSE_URL", "ROSTER_EXPECTATIONS", "DAGSTER_HOME"]
    names += ["ROSTER_ARCHIVE_URL", "ROSTER_ARTIFACTS_URL"]
    assert load_settings(dict.fromkeys(names, "")) == load_settings({})


def test_a_child_process_elsewhere_gets_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({"ROSTER_HOME": "data", "ROSTER_ARCHIVE_URL": "s3://bucket/roster"})
    monkeypatch.chdir("/")
    assert load_settings(settings.environment()) == settings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////srv/roster.db", "sqlite:////srv/roster.db"),
        ("postgresql://u:p@db/roster", "postgresql+psycopg://u:p@db/roster"),
        (
            "postgres://u:p@db/roster?sslmode=require",
            "postgresql+psycopg://u:p@db/roster?sslmode=require",
        ),
        ("postgresql+psycopg:///roster", "postgresql+psycopg:///roster"),
    ],
)
def test_a_warehouse_url_names_the_driver_that_is_installed(url: str, expected: str) -> None:
    assert load_settings({"ROSTER_WAREHOUSE_URL": url}).warehouse_url == expected


def test_a_relative_sqlite_file_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({"ROSTER_WAREHOUSE_URL": "sqlite:///roster.db"})
    assert settings.warehouse_url == f"sqlite:///{tmp_path}/roster.db"


@pytest.mark.parametrize(
    "url",
    [
        "roster.db",
        "mysql://u:secret@db/roster",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://",
        "postgresql://u:secret@db:port/roster",
    ],
)
def test_another_warehouse_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(SettingsError, match=r"ROSTER_WAREHOUSE_URL.*sqlite:.*postgresql:") as error:
        load_settings({"ROSTER_WAREHOUSE_URL": url})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/srv/archive/", "/srv/archive"),
        ("file:///srv/archive", "/srv/archive"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket//roster/archive/", "s3://bucket/roster/archive"),
        ("abfs://container/archive", "abfs://container/archive"),
    ],
)
def test_the_archive_is_a_folder_or_in_a_store(url: str, expected: str) -> None:
    settings = load_settings({"ROSTER_ARCHIVE_URL": url})
    assert settings.archive_url == expected
    assert (Path(expected) in settings.folders) is expected.startswith("/")


@pytest.mark.parametrize(
    "url",
    [
        "archive",
        "s3:/bucket/x",
        "s3://",
        "s3://key:secret@bucket/x",
        "s3://bucket/x?key=secret",
        "https://minio.example/bucket",
        "simplecache::s3://bucket",
    ],
)
@pytest.mark.parametrize("variable", ["ROSTER_ARCHIVE_URL", "ROSTER_ARTIFACTS_URL"])
def test_what_is_no_store_is_refused_with_what_is_allowed(variable: str, url: str) -> None:
    with pytest.raises(SettingsError, match=rf"{variable} is .* s3://bucket/folder") as error:
        load_settings({variable: url})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("variables", "other"),
    [
        ({"ARTIFACTS": "s3://b/x", "ARCHIVE": "s3://b/x"}, "s3://b/x"),
        ({"ARTIFACTS": "s3://b/x/y", "ARCHIVE": "s3://b/x"}, "s3://b/x"),
        ({"ARTIFACTS": "s3://b", "ARCHIVE": "s3://b/x"}, "s3://b/x"),
        ({"ARTIFACTS": "/srv/roster"}, "/srv/roster/districts"),
        ({"ARCHIVE": "/srv/roster/landing/../landing/oak"}, "/srv/roster/landing"),
        ({"ARCHIVE": "/srv/roster/artifacts"}, "/srv/roster/artifacts"),
    ],
    ids=["same", "inside", "around", "home", "landing", "default"],
)
def test_a_store_inside_another_which_a_purge_would_tidy_up_is_refused(
    variables: dict[str, str], other: str
) -> None:
    env = {f"ROSTER_{name}_URL": url for name, url in variables.items()}
    with pytest.raises(SettingsError, match=rf"_URL is .* it must lie apart from {other}$"):
        load_settings({"ROSTER_HOME": "/srv/roster", **env})


def test_beside_another_it_may_be() -> None:
    load_settings({"ROSTER_ARCHIVE_URL": "s3://b/a", "ROSTER_ARTIFACTS_URL": "s3://b/ab"})


@pytest.mark.parametrize(
    "variable", ["ROSTER_HOME", "ROSTER_EXPECTATIONS", "DAGSTER_HOME", "ROSTER_ARCHIVE_URL"]
)
def test_a_file_where_a_folder_must_be_is_refused(variable: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SettingsError, match=f"{variable} is '{file}'"):
        load_settings({variable: str(file)})


def test_a_relative_dagster_home_is_refused_as_dagster_would() -> None:
    with pytest.raises(SettingsError, match=r"DAGSTER_HOME is 'dagster', .* absolute"):
        load_settings({"DAGSTER_HOME": "dagster"})


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_dagsters_database_by_a_driver_that_it_cannot_work_with_is_refused(scheme: str) -> None:
    url = f"{scheme}://dagster:secret@db/dagster"
    with pytest.raises(SettingsError, match=r"DAGSTER_POSTGRES_URL.*psycopg2://user") as error:
        load_settings({"DAGSTER_POSTGRES_URL": url})
    assert "secret" not in str(error.value)


def test_things_are_kept_for_as_long_as_the_environment_says() -> None:
    assert load_keep_days({}) == KeepDays(landing=30, archive=90, refused=14, artifacts=30)
    says = {"ROSTER_KEEP_ARCHIVE_DAYS": "365", "ROSTER_KEEP_REFUSED_DAYS": ""}
    assert load_keep_days(says) == KeepDays(archive=365)


@pytest.mark.parametrize("says", ["0", "-1", "1.5", "90 days", "٣", "1000000"])
@pytest.mark.parametrize("kind", ["LANDING", "ARCHIVE", "REFUSED", "ARTIFACTS"])
def test_what_is_no_number_of_days_is_refused(kind: str, says: str) -> None:
    variable = f"ROSTER_KEEP_{kind}_DAYS"
    with pytest.raises(SettingsError, match=f"{variable} is '{says}', but it must be a whole"):
        load_keep_days({variable: says})


def test_the_home_is_private_to_its_owner(tmp_path: Path) -> None:
    settings = load_settings({"ROSTER_HOME": str(tmp_path / "home")})
    prepare_home(settings)
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in settings.folders} == {0o700}


def test_a_home_that_dagster_dev_made_is_closed_on_first_use_and_then_left_alone(
    tmp_path: Path,
) -> None:
    settings = load_settings({"ROSTER_HOME": str(tmp_path / "home")})
    (settings.home / "dagster").mkdir(parents=True)
    settings.home.chmod(0o755)
    prepare_home(settings)
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    settings.home.chmod(0o750)
    prepare_home(settings)
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o750


def test_dagsters_folder_gets_the_projects_configuration_with_history_beside_it(
    tmp_path: Path,
) -> None:
    settings = load_settings({"ROSTER_HOME": str(tmp_path / 'a: "home" # of ours')})
    prepare_home(settings)
    file = settings.dagster / "dagster.yaml"
    written = yaml.safe_load(file.read_text(encoding="utf-8"))
    project = yaml.safe_load((project_folder() / "dagster.yaml").read_text(encoding="utf-8"))
    places = []
    for config in (written, project):
        blocks = config["storage"]["custom"], config["local_artifact_storage"]
        places.append([block["config"].pop("base_dir") for block in blocks])
    assert written == project
    folder = str(settings.dagster)
    assert places[0] == [folder, folder]


def test_a_configuration_of_ones_own_is_kept_and_ours_is_renewed(tmp_path: Path) -> None:
    settings = load_settings({"DAGSTER_HOME": str(tmp_path / "d"), "ROSTER_HOME": str(tmp_path)})
    file = settings.dagster / "dagster.yaml"
    prepare_home(settings)
    current = file.read_text(encoding="utf-8")
    file.write_text(f"{WRITTEN_BY_ROSTER}an older version\n", encoding="utf-8")
    prepare_home(settings)
    assert file.read_text(encoding="utf-8") == current
    file.write_text("telemetry:\n  enabled: true\n", encoding="utf-8")
    prepare_home(settings)
    assert file.read_text(encoding="utf-8") == "telemetry:\n  enabled: true\n"


def test_dagster_reads_both_configurations_and_keeps_history_in_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster deletes the history of a `dagster dev` without DAGSTER_HOME, unless led elsewhere."""
    from dagster._core.instance.ref import InstanceRef

    monkeypatch.chdir(tmp_path)
    settings = load_settings({})
    prepare_home(settings)
    of_roster = InstanceRef.from_dir(str(settings.dagster))
    of_dagster_dev = InstanceRef.from_dir(str(tmp_path), config_dir=str(project_folder()))
    assert of_roster.settings == of_dagster_dev.settings
    for part in ("storage_data", "local_artifact_storage_data"):
        ours = getattr(of_roster, part).config_dict["base_dir"]
        theirs = getattr(of_dagster_dev, part).config_dict["base_dir"]
        assert Path(theirs).absolute() == Path(ours)


def test_without_variables_mails_are_files_and_links_lead_to_this_machine() -> None:
    mail = load_mail_settings({})
    assert (mail.sendgrid_key, mail.smtp, mail.sender) == (None, None, "roster@localhost")
    assert mail.sendgrid_url == "https://api.sendgrid.com"
    assert mail.ui_url == "http://127.0.0.1:3000"
    assert mail.operators == ()


def test_operators_are_addresses_with_commas_between_them() -> None:
    mail = load_mail_settings({"ROSTER_OPERATORS": "ann@agency.example, bob@agency.example"})
    assert mail.operators == ("ann@agency.example", "bob@agency.example")
    assert "ann" not in repr(mail)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", SmtpServer("mail.example", 587, False)),
        ("smtp://localhost:25/", SmtpServer("localhost", 25, False)),
        (
            "smtps://ann%40x:p%2Fw@mail.example",
            SmtpServer("mail.example", 465, True, "ann@x", "p/w"),
        ),
    ],
)
def test_an_smtp_server_is_a_url(url: str, server: SmtpServer) -> None:
    env = {"ROSTER_SMTP_URL": url, "ROSTER_MAIL_FROM": "Roster <roster@agency.example>"}
    assert load_mail_settings(env).smtp == server
    assert "p/w" not in repr(load_mail_settings(env))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SENDGRID_API_KEY", "SG.secret key"),
        ("ROSTER_SMTP_URL", "mail.example"),
        ("ROSTER_SMTP_URL", "smtp://u:secret@mail.example:port"),
        ("ROSTER_SMTP_URL", "u:secret@mail.example"),
        ("ROSTER_SMTP_URL", "imap://u:secret@mail.example"),
        ("ROSTER_MAIL_FROM", "roster"),
        ("ROSTER_OPERATORS", "ann"),
        ("ROSTER_OPERATORS", "ann@agency.example; bob@agency.example"),
        ("ROSTER_OPERATORS", "ann@agency.example,,bob@agency.example"),
        ("ROSTER_OPERATORS", "Ann <ann@agency.example>"),
        ("ROSTER_OPERATORS", "ann@agency.example\nBcc: x@y.example"),
        ("ROSTER_MAIL_FROM", "roster@agency.example\nBcc: x@y.example"),
        ("ROSTER_SENDGRID_URL", "http://api.sendgrid.com"),
        ("ROSTER_SENDGRID_URL", "https://u:secret@api.sendgrid.com"),
        ("ROSTER_UI_URL", "roster.agency.example"),
        ("ROSTER_UI_URL", "http://127.0.0.1:port"),
        ("ROSTER_UI_URL", "javascript://x"),
    ],
)
def test_a_wrong_setting_for_mails_names_the_variable_and_no_secret(
    variable: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=f"{variable} is .*, but it must be") as error:
        load_mail_settings({variable: value})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("service", [{"SENDGRID_API_KEY": "x"}, {"ROSTER_SMTP_URL": "smtp://h"}])
def test_whom_mails_are_from_must_be_said_with_a_service(service: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="ROSTER_MAIL_FROM"):
        load_mail_settings(service)


def test_it_imports_nothing_that_takes_time() -> None:
    heavy = "{'dagster', 'pandas', 'pyarrow', 'sqlalchemy', 'yaml', 'pydantic'}"
    code = f"import sys, roster_pipeline.settings; sys.exit(str({heavy} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=os.environ)
    assert (done.returncode, done.stderr) == (1, b"\n")


def test_the_landing_zone_listens_on_this_machine_only_unless_it_is_told_otherwise() -> None:
    assert load_landing_address({}) == LandingAddress("127.0.0.1", 2222)
    assert load_landing_address({"ROSTER_LANDING_HOST": "", "ROSTER_LANDING_PORT": ""}) == (
        LandingAddress("127.0.0.1", 2222)
    )
    env = {"ROSTER_LANDING_HOST": "0.0.0.0", "ROSTER_LANDING_PORT": "0"}
    assert load_landing_address(env) == LandingAddress("0.0.0.0", 0)


@pytest.mark.parametrize(
    ("variable", "found"),
    [
        ("ROSTER_LANDING_PORT", "65536"),
        ("ROSTER_LANDING_PORT", "-1"),
        ("ROSTER_LANDING_PORT", "ssh"),
        ("ROSTER_LANDING_PORT", "٢٢"),
        ("ROSTER_LANDING_HOST", "a b"),
        ("ROSTER_LANDING_HOST", "sftp://host"),
    ],
)
def test_a_wrong_landing_address_is_named(variable: str, found: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is '{found}', but it must be"):
        load_landing_address({variable: found})
