"""Resources: what the assets need from outside, handed out as plain domain objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pandas as pd
from pydantic import PrivateAttr
from sqlalchemy import Engine

from roster_pipeline.defs.partitions import IMPORT_TAG, checked_district
from roster_pipeline.defs.views import renew_views
from roster_pipeline.districts.files import load_district
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.settings import Settings, load_settings, prepare_home
from roster_pipeline.stages.data_requirements import Suites, load_suites
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline.warehouse.lock import DistrictBusy, district_lock
from roster_pipeline.warehouse.state import read_state


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

    _states: dict[str, dict[str, pd.DataFrame]] = PrivateAttr(default_factory=dict)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[WarehouseResource]:
        """Open the warehouse and take the lock of the district the run is for.

        Raises Failure when another import of the district is running, saying which.
        """
        tags = context.run.tags if context.run else {}
        if "dagster/partition" not in tags:
            raise dg.Failure(
                "Launch the job for a partition: the district it is for.", allow_retries=False
            )
        district_id = checked_district(tags["dagster/partition"])
        settings = load_settings()
        prepare_home(settings)
        self._engine = open_warehouse(settings.warehouse_url)
        try:
            with district_lock(self._engine, district_id):
                yield self
                self._tell_end(context, settings)
        except DistrictBusy as busy:
            raise dg.Failure(str(busy), allow_retries=False) from busy
        finally:
            self._engine.dispose()
            self._states.clear()

    def _tell_end(self, context: dg.InitResourceContext, settings: Settings) -> None:
        """Renew the views over the district when a run ends that was about an import. Here, since
        nothing else comes last however the steps ended."""
        assert context.run is not None and context.instance is not None
        # As it is now: the tag was set while it ran.
        run = context.instance.get_run_by_id(context.run.run_id)
        if run is not None and IMPORT_TAG in run.tags:
            import_id = int(run.tags[IMPORT_TAG])
            renew_views(context.instance, self._engine, settings, import_id)

    @property
    def engine(self) -> Engine:
        """The engine of the warehouse."""
        return self._engine

    def state(self, district_id: str) -> dict[str, pd.DataFrame]:
        """What the warehouse holds of the run's district, as `read_state` returns it: read once,
        since under the district's lock only this run's merge can change it."""
        if district_id not in self._states:
            with reading(self._engine) as conn:
                self._states[district_id] = read_state(conn, district_id)
        return self._states[district_id]
