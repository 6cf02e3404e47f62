"""What is changed and what is not, and that the copies of a module behave like it until one is switched on."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from deploy.mutants.making import mutated
from deploy.mutants.switch import Switch, turn_on


def changes(source: str) -> list[str]:
    """The changed lines of all mutants."""
    return [mutant.now for mutant in mutated("m", source)[1]]


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    def load(source: str) -> ModuleType:
        path = tmp_path / "mutated_here.py"
        path.write_text(mutated("mutated_here", source)[0])
        spec = importlib.util.spec_from_file_location("mutated_here", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "mutated_here", module)
        spec.loader.exec_module(module)
        return module

    monkeypatch.setenv("HEADRACE_MUTANT", "")
    yield load
    turn_on(":")


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ('raise ValueError("share must lie in 0..1")', []),
        ('raise ValueError(f"share must lie in 0..1, got {x + 1}")', []),
        ('f(x, "not a word")', ['f(None, "not a word")', 'f("not a word")']),
        ("assert_never(x)", []),
        ('"""A docstring."""', []),
    ],
)
def test_words_for_people_are_not_changed(body: str, wanted: list[str]) -> None:
    assert changes(f"def f(x):\n    {body}\n") == wanted


def test_a_word_for_the_machine_is_changed_in_one_way() -> None:
    assert changes('def f(x):\n    return x == "paused"\n') == ['return x != "paused"', 'return x == "XXpausedXX"']


def test_guards_and_defaults_of_libraries_are_not_changed() -> None:
    found = changes("def f(a, b):\n    return np.asarray(zip(a, b, strict=True), dtype=np.float64)\n")
    assert found
    assert all("strict=True" in now or "zip" not in now for now in found)
    assert all("dtype=np.float64" in now for now in found)


def test_a_key_stays_as_long_as_the_function_does() -> None:
    function = "def f(x):\n    return x + 1\n"
    alone, later = mutated("m", function)[1], mutated("m", f"def g(x):\n    return x * 2\n\n\n{function}")[1]
    assert {mutant.key for mutant in alone} < {mutant.key for mutant in later}
    assert not {mutant.key for mutant in alone} & {m.key for m in mutated("m", function.replace("1", "3"))[1]}


SOURCE = '''
from dataclasses import dataclass

def plain(x):
    return x + 1

async def later(x):
    return x + 1

@dataclass(frozen=True, slots=True)
class Value:
    """A frozen value."""
    x: int

    @property
    def next(self):
        return self.x + 1

    @classmethod
    def made(cls, x):
        return cls(x + 1)

    @staticmethod
    def added(x):
        return x + 1

    def added_to(self, y):
        return self.x + y
'''


def test_the_copies_of_a_module_behave_like_it(loaded: Callable[[str], ModuleType]) -> None:
    module = loaded(SOURCE)
    value = module.Value(3)
    assert (module.plain(3), value.next, module.Value.made(3), value.added(3), value.added_to(4)) == (
        4,
        4,
        module.Value(4),
        4,
        7,
    )
    assert value == module.Value(3)


@pytest.mark.parametrize(
    ("function", "call", "wanted"),
    [
        ("plain", lambda m: m.plain(3), 2),
        ("Value.next", lambda m: m.Value(3).next, 2),
        ("Value.made", lambda m: m.Value.made(3).x, 2),
        ("Value.added", lambda m: m.Value.added(3), 2),
        ("Value.added_to", lambda m: m.Value(3).added_to(4), -1),
    ],
)
def test_a_mutant_that_is_on_takes_the_place_of_its_function_alone(
    loaded: Callable[[str], ModuleType], function: str, call: Callable[[ModuleType], int], wanted: int
) -> None:
    module = loaded(SOURCE)
    mutants = [m for m in mutated("mutated_here", SOURCE)[1] if m.function == function and " - " in m.now]
    assert len(mutants) == 1
    turn_on(f"another:{mutants[0].name}")
    assert call(module) != wanted
    turn_on(mutants[0].switch)
    assert call(module) == wanted
    assert module.plain(3) == (2 if function == "plain" else 4)


async def test_a_coroutine_is_still_one(loaded: Callable[[str], ModuleType]) -> None:
    module = loaded(SOURCE)
    assert await module.later(3) == 4


def test_what_is_called_is_noted_by_the_name_of_the_mutants(loaded: Callable[[str], ModuleType]) -> None:
    module = loaded(SOURCE)
    Switch.hits = set()
    try:
        module.plain(3)
        assert module.Value(3).next == 4
        module.Value.made(3)
        assert Switch.hits == {"mutated_here:plain", "mutated_here:Value.next", "mutated_here:Value.made"}
    finally:
        Switch.hits = None
    assert {"plain", "Value.next", "Value.made"} <= {m.function for m in mutated("m", SOURCE)[1]}
