"""What the sections of a district's file have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Settings that do not change once read, and that take no key they do not know. What stands
    beneath a key says what it does: in the JSON Schema for editors and in docs/settings.md."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
