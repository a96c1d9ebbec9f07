"""The settings of a district, composed of the stages' own, and the hash that stands for them."""

from __future__ import annotations

import difflib
import functools
import hashlib
import re
from datetime import date
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Discriminator, Field, Tag

from roster_pipeline import __version__
from roster_pipeline.districts.sections import (
    ForeignServer,
    NotificationSettings,
    ReportSettings,
    ScheduleSettings,
    Trigger,
)
from roster_pipeline.stages.attributes import AttributeSettings
from roster_pipeline.stages.data_requirements import DataRequirementSettings, Suites
from roster_pipeline.stages.filters import FilterSettings
from roster_pipeline.stages.hold import HoldSettings
from roster_pipeline.stages.parse import ParseSettings
from roster_pipeline.stages.schools import SchoolSettings
from roster_pipeline.stages.section import Section
from roster_pipeline.stages.uniqueness import UniquenessSettings

_NOT_OF_THE_RESULT = {"name", "timezone", "apps", "hold", "schedule", "notifications", "reports"}
DISTRICT_ID = re.compile(r"[a-z][a-z0-9-]{1,62}")


def is_district_id(text: str) -> bool:
    """Whether a text can be a district's id (and so a partition key and a folder's name)."""
    return DISTRICT_ID.fullmatch(text) is not None


@functools.cache
def _timezones() -> frozenset[str]:
    """The names of all time zones; looking them up takes longer than all else of a file."""
    return frozenset(available_timezones())


def _timezone(name: str) -> str:
    if name not in _timezones():
        near = difflib.get_close_matches(name, _timezones(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{hint}allowed: time zones of the IANA list, such as America/Chicago")
    return name


class Sections(
    ParseSettings,
    AttributeSettings,
    DataRequirementSettings,
    FilterSettings,
    UniquenessSettings,
    SchoolSettings,
    HoldSettings,
    ScheduleSettings,
    NotificationSettings,
    ReportSettings,
):
    """What a district may set, and each of its import apps may set anew."""


class SftpApp(Sections):
    """Deliveries by SFTP: on our server or the district's, taken on arrival, by the clock, or,
    with neither, by hand only."""

    server: Annotated[
        Annotated[Literal["hosted"], Tag("hosted")] | Annotated[ForeignServer, Tag("own")],
        Discriminator(lambda value: "hosted" if isinstance(value, str) else "own"),
    ] = "hosted"
    """`hosted`: our SFTP server, on which the district has an account. Otherwise the district's own
    server, from which its files are fetched."""
    trigger: tuple[Trigger, ...] = ("on_arrival", "schedule")
    """What starts an import: a delivery that is whole, the clock, or, with `[]`, a person only."""


class CsvUploadApp(Sections):
    """Deliveries handed over directly."""


class Apps(Section):
    """The import apps a district has; one that is not named is not active."""

    sftp: SftpApp | None = None
    """Deliveries by SFTP, on our server or fetched from the district's."""
    csv_upload: CsvUploadApp | None = None
    """Deliveries handed over with `roster import` or `roster upload`."""


class DistrictSettings(Sections):
    """One district: what it is called, how deliveries come, and what each stage does with them."""

    name: str = Field(min_length=1)
    """What people call the district."""
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    """The time zone its schedule, its digest and its reports go by, such as America/Chicago."""
    apps: Apps = Apps(sftp=SftpApp(), csv_upload=CsvUploadApp())
    """How deliveries come; one that is not named is not active. Each may set any of the sections
    anew, for the deliveries that come by it."""

    def active_apps(self) -> list[str]:
        """The import apps this district has."""
        return [name for name in Apps.model_fields if getattr(self.apps, name) is not None]

    def for_app(self, app: str) -> DistrictSettings:
        """The settings under which a delivery of an app is imported: what the app sets itself
        stands instead of the district's."""
        own: Sections | None = getattr(self.apps, app, None)
        if own is None:
            return self
        chosen = own.model_fields_set & Sections.model_fields.keys()
        return self.model_copy(update={name: getattr(own, name) for name in chosen})

    @property
    def zone(self) -> ZoneInfo:
        """The district's time zone."""
        return ZoneInfo(self.timezone)


def settings_hash(settings: DistrictSettings, suites: Suites, today: date) -> str:
    """What an import's identity takes from the settings: 64 hexadecimal digits over all that can
    change its result (what it is called, how it came, when it is held, who is told and what reports
    show do not), the suites, the program's version, and the district's date where a filter goes by
    it. To be taken of the settings for the import's app."""
    told = settings.model_dump_json(exclude=_NOT_OF_THE_RESULT)
    content = "\n".join([__version__, told, repr(sorted(suites.by_type.items()))])
    if any(condition in told for condition in ('"is_past"', '"is_future"')):
        content += f"\n{today}"
    return hashlib.sha256(content.encode()).hexdigest()
