"""Dagster's web application without a way to change anything, for `roster ui --read-only`.

Two walls. Dagster's own `read_only` takes the buttons off its pages and refuses what its endpoints
report from outside; but over GraphQL each of the some fifty mutations checks for itself, some only
after they have looked at what was sent, and one (`setNuxSeen`) not at all (tried with 1.13.27). So
the schema that is served here has no mutations.
"""

from __future__ import annotations

from dagster._core.workspace.context import (
    IWorkspaceProcessContext,
    WorkspaceProcessContext,
    WorkspaceRequestContext,
)
from dagster_graphql.schema import create_schema
from dagster_webserver.webserver import DagsterWebserver
from graphene import Schema
from starlette.applications import Starlette


class ReadingWebserver(DagsterWebserver[IWorkspaceProcessContext, WorkspaceRequestContext]):
    """Dagster's web server, which answers queries and subscriptions only."""

    def build_graphql_schema(self) -> Schema:
        schema = create_schema()
        schema.graphql_schema.mutation_type = None
        return schema


def reading_app(context: WorkspaceProcessContext) -> Starlette:
    """The application for a context that is read-only itself."""
    if not context.read_only:
        raise ValueError("The context must be read-only too.")
    return ReadingWebserver(context).create_asgi_app()
