"""Takes school districts' OneRoster deliveries through configurable stages into a SQL warehouse."""

__version__ = "0.1.0"
