"""The switch that a mutated module is built on: one process holds all mutants of a package, and at most one is switched on.

The environment names it, so that a worker process that a test starts runs the same mutant; `turn_on` names it after a fork.
"""

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any

ENVIRONMENT = "HEADRACE_MUTANT"
MutantDict = dict[str, Callable[..., Any]]


class Switch:
    """`module`, `name`: the mutant that is on, empty for none. `hits`: mutated functions called, kept while it is a set."""

    module: str = ""
    name: str = ""
    hits: set[str] | None = None


def turn_on(mutant: str) -> None:
    """Switch on `module:name`, here and in each process that this one starts."""
    os.environ[ENVIRONMENT] = mutant
    Switch.module, _, Switch.name = mutant.partition(":")


def switched(mutants: MutantDict, is_classmethod: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: calls go to the mutant that is on, where it is one of `mutants`, and else to the original."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        module = function.__module__
        key = f"{module}:{function.__qualname__}"

        def chosen(args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            if Switch.hits is not None:
                Switch.hits.add(key)
            found = mutants.get(Switch.name) if Switch.module == module else None
            found = found or mutants["_mutmut_orig"]
            # A class method is looked up on the class that it was called on, which may be a subclass.
            return (getattr(args[0], found.__name__), args[1:]) if is_classmethod else (found, args)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wait(*args: Any, **named: Any) -> Any:
                target, rest = chosen(args)
                return await target(*rest, **named)

            return wait

        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            target, rest = chosen(args)
            return target(*rest, **named)

        return call

    return decorate


if os.environ.get(ENVIRONMENT):
    turn_on(os.environ[ENVIRONMENT])
