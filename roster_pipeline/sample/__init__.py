"""Makes realistic districts of any size from a seed, clean or with planted faults.

`district.make_district` puts a whole district together out of `names` (names of people and
schools), `curriculum` (courses, schedules and the calendar), `people` (families, staff,
demographics) and `timetable` (who sits in which class with whom); `columns` holds the few
vectorised text operations they share. `faults.plant_faults` damages a district in named ways and
tells which rows it damaged, so that tests and the demo know the truth.

Nothing here reads a delivery or knows a stage: frames go out in the shape that
`oneroster.writer.write_package` takes.
"""

from roster_pipeline.sample.district import make_district
from roster_pipeline.sample.faults import (
    DEMO_FAULTS,
    FAULTS,
    Delivery,
    Fault,
    PlantedFault,
    PlantedRow,
    plant_faults,
)

__all__ = [
    "DEMO_FAULTS",
    "FAULTS",
    "Delivery",
    "Fault",
    "PlantedFault",
    "PlantedRow",
    "make_district",
    "plant_faults",
]
