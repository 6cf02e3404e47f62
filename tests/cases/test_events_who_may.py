"""Case 21: no definition on the topic makes a service import what its host does not allow."""

import sys
from pathlib import Path

import pytest

from headrace.errors import Misconfigured
from headrace.project.load import Allowed, load_allowed, load_build, load_function, load_project, note_applied

PROJECT = """
from headrace.project import *
def build(signature): return None
project = Project("p", [Deployment("d", "u", [Key("k")], label=Binary("y", "1d"), training=Training(build))])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project that somebody wrote, and beside it a module that leaves a file when it is imported."""
    (tmp_path / f"own_{tmp_path.name}.py").write_text(PROJECT)
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path(__file__).with_suffix('.ran').touch()")
    return tmp_path


def reference(folder: Path) -> str:
    return f"{folder}!own_{folder.name}:project"


@pytest.mark.parametrize("module", ["evil:project", "os:system", "../evil:project", ":", ""])
def test_what_was_never_applied_here_is_refused_before_anything_is_imported(folder: Path, module: str) -> None:
    with pytest.raises(Misconfigured, match=r"project p is not allowed here: .* to HEADRACE_ALLOWED_PROJECTS"):
        load_allowed("p", f"{folder}!{module}", Allowed())
    assert not (folder / "evil.ran").exists()


def test_a_folder_that_is_listed_or_was_applied_here_is_hosted(folder: Path) -> None:
    applied = folder / "home" / "applied.json"
    for allowed in (Allowed(str(folder)), Allowed(reference(folder)), Allowed(f"flights, {folder}")):
        assert load_allowed("p", reference(folder), allowed).name == "p"
    with pytest.raises(Misconfigured, match="not allowed here"):
        load_allowed("p", reference(folder), Allowed(applied_file=str(applied)))
    note_applied(applied, "p", reference(folder))
    assert load_allowed("p", reference(folder), Allowed(applied_file=str(applied))).name == "p"
    # Another module of the same folder was not applied.
    with pytest.raises(Misconfigured, match="not allowed here"):
        load_allowed("p", f"{folder}!evil:project", Allowed(applied_file=str(applied)))


def test_an_installed_entry_point_is_hosted_unless_the_list_excludes_it() -> None:
    _, where = load_project("flights")
    assert load_allowed("flights", where, Allowed()).name == "flights"
    assert load_allowed("flights", where, Allowed("flights")).name == "flights"
    with pytest.raises(Misconfigured, match="not allowed here"):
        load_allowed("flights", where, Allowed("tumour"))


def test_a_build_is_one_of_the_projects_own_and_nothing_else(folder: Path) -> None:
    allowed = Allowed(str(folder))
    found = load_build("p", reference(folder), f"own_{folder.name}:build", allowed)
    assert found(None) is None
    with pytest.raises(Misconfigured, match="none of its deployments uses any more"):
        load_build("p", reference(folder), "os:system", allowed)


def test_a_module_that_another_folder_brought_already_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    module = f"same_{tmp_path.name}"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{module}.py").write_text(PROJECT.replace('"p"', f'"proj-{name}"'))
    folders = {name: str(tmp_path / name) for name in ("a", "b")}
    assert load_allowed("proj-a", f"{folders['a']}!{module}:project", Allowed(folders["a"])).name == "proj-a"
    for reference in (f"{folders['b']}!{module}:project", f"{folders['b']}/{module}.py"):
        with pytest.raises(
            Misconfigured, match=rf"{module}' of .*/b cannot be imported: .*/a/{module}.py has this name"
        ):
            load_project(reference)
    with pytest.raises(Misconfigured, match="cannot be imported"):
        load_allowed("proj-b", f"{folders['b']}!{module}:project", Allowed(folders["b"]))


def test_a_module_beside_the_projects_that_another_folder_brought_already_is_not_taken_for_this_ones(
    tmp_path: Path,
) -> None:
    shared, code = f"shared_{tmp_path.name}", "\ndef late():\n    from {} import WORD"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{shared}.py").write_text(f"WORD = {name!r}")
        (tmp_path / name / f"{name}_{tmp_path.name}.py").write_text(PROJECT + code.format(shared))
    load_project(str(tmp_path / "a" / f"a_{tmp_path.name}.py"))
    second = f"{tmp_path}/b!b_{tmp_path.name}:project"
    for _ in range(2):
        with pytest.raises(
            Misconfigured, match=rf"{shared}' of .*/b cannot be imported: .*/a/{shared}.py has this name"
        ):
            load_allowed("p", second, Allowed(second))
    assert load_function(f"{shared}:WORD", f"{tmp_path}/a") == "a"
    with pytest.raises(Misconfigured, match="has this name in this process"):
        load_function(f"{shared}:WORD", str(tmp_path / "b"))


def test_an_allowed_name_does_not_give_another_projects_code(folder: Path) -> None:
    with pytest.raises(Misconfigured, match="is project 'p' now, not 'q': apply it again"):
        load_allowed("q", reference(folder), Allowed(str(folder)))


def test_a_project_beside_a_file_named_as_a_standard_module_leaves_that_one_alone(tmp_path: Path) -> None:
    (tmp_path / "this.py").write_text("raise SystemExit")
    (tmp_path / f"calm_{tmp_path.name}.py").write_text(PROJECT)
    load_project(str(tmp_path / f"calm_{tmp_path.name}.py"))
    assert sys.path.index(str(tmp_path)) > max(place for place, path in enumerate(sys.path) if "lib-dynload" in path)


def test_a_module_that_raises_while_it_is_imported_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "sulky_project.py").write_text("import sys; sys.exit(3)")
    with pytest.raises(Misconfigured, match=r"\.py:\d+: SystemExit: 3 \(while .* is imported\)"):
        load_allowed("p", f"{tmp_path}!sulky_project:project", Allowed(str(tmp_path)))
