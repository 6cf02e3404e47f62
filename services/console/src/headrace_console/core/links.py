"""Paths of the page."""

from urllib.parse import quote


def deployment_link(name: str) -> str:
    """The page of a deployment.

    >>> deployment_link("flight delay")
    '/deployments/flight%20delay'
    """
    return f"/deployments/{quote(name, safe='')}"


def version_link(name: str, version: int) -> str:
    """The page of a version."""
    return f"{deployment_link(name)}/versions/{version}"


def finding_link(name: str, finding: str) -> str:
    """The page of a finding."""
    return f"{deployment_link(name)}/findings/{quote(finding, safe='')}"


def decision_link(name: str, wanted: str) -> str:
    """The page of a decision, by request id or unit."""
    return f"{deployment_link(name)}/decisions/{quote(wanted, safe='')}"
