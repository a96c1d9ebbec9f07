"""The settings of a district, composed of the stages' own, and the hash that stands for them."""

from __future__ import annotations

import difflib
import hashlib
import re
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, ConfigDict, Field

from roster_pipeline import __version__
from roster_pipeline.stages.attributes import AttributeSettings
from roster_pipeline.stages.data_requirements import DataRequirementSettings, Suites
from roster_pipeline.stages.filters import FilterSettings
from roster_pipeline.stages.hold import HoldSettings
from roster_pipeline.stages.parse import ParseSettings
from roster_pipeline.stages.schools import SchoolSettings
from roster_pipeline.stages.uniqueness import UniquenessSettings

DISTRICT_ID = re.compile(r"[a-z][a-z0-9-]{1,62}")


def is_district_id(text: str) -> bool:
    """Whether a text can be a district's id (and so a partition key and a folder's name)."""
    return DISTRICT_ID.fullmatch(text) is not None


def _timezone(name: str) -> str:
    if name not in available_timezones():
        near = difflib.get_close_matches(name, available_timezones(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{hint}allowed: time zones of the IANA list, such as America/Chicago")
    return name


class DistrictSettings(
    ParseSettings,
    AttributeSettings,
    DataRequirementSettings,
    FilterSettings,
    UniquenessSettings,
    SchoolSettings,
    HoldSettings,
):
    """One district: what it is called, and what each stage does with its deliveries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"

    @property
    def zone(self) -> ZoneInfo:
        """The district's time zone."""
        return ZoneInfo(self.timezone)


def settings_hash(settings: DistrictSettings, suites: Suites) -> str:
    """What an import's identity takes from the settings: 64 hexadecimal digits over all that can
    change its result (the name, the time zone and when it is held do not), the suites, and the
    program's version."""
    told = settings.model_dump_json(exclude={"name", "timezone", "hold"})
    content = "\n".join([__version__, told, repr(sorted(suites.by_type.items()))])
    return hashlib.sha256(content.encode()).hexdigest()
