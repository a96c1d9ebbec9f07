"""The warehouses of the tests of the warehouse, for imports all the way."""

from roster_pipeline_tests.warehouse.conftest import postgresql_server, warehouse_url

__all__ = ["postgresql_server", "warehouse_url"]
