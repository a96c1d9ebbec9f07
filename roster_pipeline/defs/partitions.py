"""The one partition dimension: districts, as a dynamic partition; and the tag
that says which import a run is about."""

import dagster as dg

from roster_pipeline.districts.settings import is_district_id

IMPORT_TAG = "roster/import_id"

DISTRICTS = dg.DynamicPartitionsDefinition(name="district")


def checked_district(partition_key: str) -> str:
    """The district a partition key names.

    Raises Failure when it cannot be a district's id: Dagster takes any text as a key, also one
    that would lead a path out of its folder.
    """
    if not is_district_id(partition_key):
        raise dg.Failure(
            f"{partition_key!r} is no district id (small letters, digits and hyphens).",
            allow_retries=False,
        )
    return partition_key
