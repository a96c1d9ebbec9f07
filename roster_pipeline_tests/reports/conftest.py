"""The warehouses of the tests of the warehouse, for reports on what is in them."""

from roster_pipeline_tests.warehouse.conftest import postgresql_server, warehouse, warehouse_url

__all__ = ["postgresql_server", "warehouse", "warehouse_url"]
