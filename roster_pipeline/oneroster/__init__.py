"""The OneRoster standard: its versions as data, and the reading and writing of packages."""
