"""An import of what lies in a landing zone: it takes what was seen there, and says that it did."""

from __future__ import annotations

import dagster as dg
import pytest

from roster_pipeline.definitions import defs
from roster_pipeline.defs.partitions import DISTRICTS
from roster_pipeline.landing.intake import delivery_name
from roster_pipeline.landing.zones import read_zones
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.settings import load_settings
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import reading
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.defs.watching import aged, asked, tick, warehouse
from roster_pipeline_tests.end_to_end.deliveries import district


def test_an_import_leaves_what_it_was_not_asked_for_and_books_what_it_takes(
    roster: Roster, nothing_required: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    roster("district", "add", "oak", "--name", "Oak County")
    path = load_settings().landing / "oak" / "OneRoster.zip"
    write_package(path, district(300))
    aged(path, 90)
    for name, value in load_settings().environment().items():
        monkeypatch.setenv(name, value)
    config = {"app": "sftp", "content": "0" * 64}
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(str(DISTRICTS.name), ["oak"])
        result = defs.resolve_job_def("import_roster").execute_in_process(
            instance=instance,
            partition_key="oak",
            run_config={"ops": {"landing_snapshot": {"config": config}}},
        )
        assert result.success
        assert not result.get_asset_materialization_events()
        with reading(warehouse()) as conn:
            assert ledger.get_import(conn, 1).status == "superseded"
            assert read_zones(conn)["oak"].taken == "0" * 64

        # The sensor sees that something else lies there; a person is quicker.
        tick(instance)
        assert set(asked(tick(instance))) == {"oak"}
        assert roster("import", "oak").code == 0

        with reading(warehouse()) as conn:
            zone = read_zones(conn)["oak"]
        assert (zone.taken, zone.taken_import_id) == (delivery_name([path]), 2)
        assert asked(tick(instance)) == {}
