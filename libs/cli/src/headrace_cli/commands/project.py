"""`headrace project list|release`: which projects are applied, and which names they own."""

from typing import Annotated, Any

import typer

from headrace.project.applied import Projects
from headrace_cli.projects.release import release
from headrace_cli.session import Session, run
from headrace_cli.terminal.render import instant, show, show_result

app = typer.Typer(help="Applied projects, and the names that they own.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    """Applied projects, and the names that they own."""


@app.command("list")
def list_projects(as_json: AsJson = False) -> None:
    """List the projects: what each declares, since when, and why one is ignored."""

    async def work(session: Session) -> list[dict[str, Any]]:
        return rows_of(session.projects)

    columns = ["project", "deployments", "sources", "views", "applied", "by", "ignored"]
    show(run(work), columns, as_json=as_json, empty="no projects: `headrace apply PROJECT` applies one")


def rows_of(projects: Projects) -> list[dict[str, Any]]:
    """A row per project, including ignored ones."""
    rows: list[dict[str, Any]] = []
    for name in sorted({*projects.applied, *projects.refused}):
        found = projects.applied.get(name)
        groups = ("raw", "references", "sources", "views", "pipelines", "deployments")
        parts = {group: [part.name for part in getattr(found.definition, group)] if found else [] for group in groups}
        rows.append(
            {"project": name}
            | parts
            | {
                "applied": instant(found.applied_at_s) if found else None,
                "by": found.by if found else None,
                "reference": found.reference if found else None,
                "ignored": projects.refused.get(name),
            }
        )
    return rows


@app.command("release")
def release_names(
    project: Annotated[str, typer.Argument(help="The project whose names are freed.")],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only this part of it, such as deployment/flight-delay; may be given several times."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Free the names of a project, so that another one may declare them. What it declared is no longer served; topics stay."""

    async def work(session: Session) -> dict[str, Any]:
        return await release(session, project, only or [])

    done = run(work)
    freed = ", ".join(done["freed"]) or "nothing else"
    show_result(
        done,
        as_json=as_json,
        line=f"project {project} {'is deleted' if done['deleted'] else 'stays applied'}; free: {freed}",
    )
