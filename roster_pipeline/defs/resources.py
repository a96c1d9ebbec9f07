"""Resources: what the assets need from outside, handed out as plain domain objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from sqlalchemy import Engine

from roster_pipeline.defs.partitions import checked_district
from roster_pipeline.defs.views import renew_views, tell_unreached
from roster_pipeline.districts.files import load_district
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.settings import Settings, load_settings, prepare_home
from roster_pipeline.stages.data_requirements import Suites, load_suites
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline.warehouse.lock import DistrictBusy, district_lock


class HouseResource(dg.ConfigurableResource):
    """The folders of this installation and the districts in it, from the environment."""

    def settings(self) -> Settings:
        """Where everything is; the folders are made if they are not there."""
        settings = load_settings()
        prepare_home(settings)
        return settings

    def district(self, district_id: str) -> DistrictSettings:
        """A district's settings. Raises UnknownDistrict or DistrictFileError."""
        return load_district(self.settings().districts, district_id)

    def suites(self) -> Suites:
        """The Great Expectations suites. Raises SuiteError."""
        return load_suites(self.settings().expectations)


class WarehouseResource(dg.ConfigurableResource):
    """The warehouse, held by one run: the run's district is locked while the run lasts.

    All steps of an import run in one process, which initialises this once, so that no second
    import of the district can come in between two steps, however it was started.
    """

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[WarehouseResource]:
        """Open the warehouse and take the lock of the district the run is for.

        Raises Failure when another import of the district is running, saying which.
        """
        run, instance = context.run, context.instance
        if run is None or instance is None or "dagster/partition" not in run.tags:
            raise dg.Failure(
                "Launch the job for a partition: the district it is for.", allow_retries=False
            )
        district_id = checked_district(run.tags["dagster/partition"])
        settings = load_settings()
        prepare_home(settings)
        # Dagster's history on PostgreSQL: one connection for a run, else one for each event.
        instance.optimize_for_webserver(statement_timeout=0, pool_recycle=-1, max_overflow=-1)
        self._engine = open_warehouse(settings.warehouse_url)
        try:
            with district_lock(self._engine, district_id):
                before = self._standing(district_id)
                yield self
                # Here, since nothing else comes last however the steps ended.
                changed = {number for number, *_ in self._standing(district_id) - before}
                if changed:
                    renew_views(instance, self._engine, settings, district_id, changed)
                else:
                    why = "the run ended before it came to an import; its page says why."
                    tell_unreached(instance, district_id, run.run_id, why)
        except DistrictBusy as busy:
            tell_unreached(instance, district_id, run.run_id, str(busy))
            raise dg.Failure(str(busy), allow_retries=False) from busy
        finally:
            self._engine.dispose()

    def _standing(self, district_id: str) -> set[tuple[int, str, str | None]]:
        with reading(self._engine) as conn:
            return ledger.standing(conn, district_id)

    @property
    def engine(self) -> Engine:
        """The engine of the warehouse."""
        return self._engine
