"""A first import, made once, that many tests begin with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from roster_pipeline_tests.conftest import live_in
from roster_pipeline_tests.end_to_end.deliveries import district, written


@pytest.fixture(scope="session")
def home_after_an_import(tmp_path_factory: pytest.TempPathFactory, dagster_kept: None) -> Path:
    """A home in which the district oak has imported district(300) from a zip, as import 1."""
    from roster_pipeline.cli.main import app

    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        live_in(folder / "home", patch)
        package = written(folder, "OneRoster", district(300))
        for command in (
            ("district", "add", "oak", "--name", "Oak County"),
            ("import", "oak", str(package)),
        ):
            assert CliRunner().invoke(app, command).exit_code == 0
    return folder / "home"


@pytest.fixture
def after_an_import(home: Path, home_after_an_import: Path) -> None:
    """The test's home is a copy of that one."""
    shutil.copytree(home_after_an_import, home)
