"""What filter rules would leave of a district's last delivery, before they are saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.oneroster.effective import EffectiveFile, EffectiveSet
from roster_pipeline.oneroster.reader import FileReading
from roster_pipeline.stages.attributes import map_attributes
from roster_pipeline.stages.filters import filter_records
from roster_pipeline.stages.parse import parse


@dataclass(frozen=True)
class Left:
    """How many records of an enrollment type there are, and how many the rules would leave."""

    enrollment_type: str
    records: int
    left: int

    @property
    def filtered(self) -> int:
        """How many would go."""
        return self.records - self.left


def preview_filters(
    readings: Mapping[str, FileReading], settings: DistrictSettings, today: date
) -> list[Left]:
    """Apply the settings' filter rules to the records of an effective set; a line for each type
    that has records. Raises DeliveryRefused when an attribute is mapped to a header the files lack.
    """
    files = {name: EffectiveFile("carried_forward", reading) for name, reading in readings.items()}
    parsed = parse(EffectiveSet("", files, ()), settings)
    before = map_attributes(parsed.roster, settings).roster
    after = filter_records(before, settings, today).roster
    return [
        Left(name, len(frame), len(after.frames[name]))
        for name, frame in before.frames.items()
        if len(frame)
    ]
