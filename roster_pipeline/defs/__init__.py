"""What Dagster sees: assets, checks, jobs, resources and partitions. The rules of an import are
elsewhere; here they are only called, stored and reported."""
