"""Makes the mutants of a module: mutmut's operators and its switchable copies, under our rules of what is worth changing.

Not changed, because no test should have to notice it:
- prose: a string with a space in it, what stands in such an f-string, and such a string as an argument (messages' words);
  other strings are changed in one way;
- annotations, docstrings, the arguments of decorators, `len(...)` and `isinstance(...)` (mutmut's own rules);
- `strict=` of `zip` and `dtype=` of numpy: they guard against a mistake of ours, or name the default;
- `assert_never(...)`, the `case` that holds nothing else, and the first argument of `cast`.

Methods of dataclasses and properties are changed too, which mutmut by itself leaves alone. What it cannot reach: constants
of a module, defaults of fields, and functions under another decorator than `property`, `classmethod` and `staticmethod`.
"""

import difflib
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import libcst as cst
import mutmut.mutation.file_mutation as mutmut_files
from libcst.metadata import MetadataWrapper
from mutmut.mutation.mutators import mutation_operators, operator_arg_removal, operator_match, operator_string
from mutmut.mutation.pragma_handling import IgnoredCode
from mutmut.mutation.trampoline_templates import mangle_function_name

GUARDS = frozenset({"strict", "dtype"})
MUTMUT_IMPORT = "from mutmut.mutation.trampoline import wrap_in_trampoline"
OUR_IMPORT = "from deploy.mutants.switch import switched"


@dataclass(frozen=True)
class Mutant:
    """One change. `name`: of the copy in the mutated module. `was`, `now`: the changed lines. `key`: the same as long as the function is."""

    module: str
    function: str
    name: str
    was: str
    now: str
    key: str

    @property
    def switch(self) -> str:
        return f"{self.module}:{self.name}"


def is_prose(node: cst.CSTNode) -> bool:
    """Whether it is a string for people to read: one with a space."""
    match node:
        case cst.SimpleString():
            return " " in node.value
        case cst.FormattedString():
            return any(isinstance(part, cst.FormattedStringText) and " " in part.value for part in node.parts)
        case cst.ConcatenatedString():
            return is_prose(node.left) or is_prose(node.right)
    return False


def _string_once(node: cst.BaseString) -> Iterator[cst.CSTNode]:
    yield from list(operator_string(node))[:1]


def _fewer_arguments(node: cst.Call) -> Iterator[cst.CSTNode]:
    kept = {
        i for i, arg in enumerate(node.args) if is_prose(arg.value) or (arg.keyword and arg.keyword.value in GUARDS)
    }
    called = node.func.value if isinstance(node.func, cst.Name) else ""
    if called == "assert_never":
        return
    if called == "cast":
        kept.add(0)
    for mutated in operator_arg_removal(node):
        new = mutated.args if isinstance(mutated, cst.Call) else ()
        touched = next((i for i, arg in enumerate(node.args) if i >= len(new) or new[i] is not arg), -1)
        if touched not in kept:
            yield mutated


def _fewer_cases(node: cst.Match) -> Iterator[cst.CSTNode]:
    for i, mutated in enumerate(operator_match(node)):
        if "assert_never" not in cst.Module([]).code_for_node(node.cases[i].body):
            yield mutated


OURS = {operator_string: _string_once, operator_arg_removal: _fewer_arguments, operator_match: _fewer_cases}
OPERATORS = [(kind, OURS.get(operator, operator)) for kind, operator in mutation_operators]


class _Visitor(mutmut_files.MutationVisitor):
    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.ClassDef) and node.decorators:
            return not all(_name(decorator) == "dataclass" for decorator in node.decorators)
        if isinstance(node, cst.FunctionDef) and [_name(decorator) for decorator in node.decorators] == ["property"]:
            return False
        if isinstance(node, cst.Arg) and node.keyword and node.keyword.value in GUARDS:
            return True
        return is_prose(node) or super()._skip_node_and_children(node)


def _name(decorator: cst.Decorator) -> str:
    called = decorator.decorator.func if isinstance(decorator.decorator, cst.Call) else decorator.decorator
    return called.value if isinstance(called, cst.Name) else ""


def mutated(module: str, source: str) -> tuple[str, list[Mutant]]:
    """The code that holds all mutants of a module beside the originals, and what they are."""
    tree = MetadataWrapper(cst.parse_module(source))
    visitor = _Visitor(OPERATORS, IgnoredCode(set(), set(), set()))
    parsed = tree.visit(visitor)
    changes = [change for change in visitor.mutations if change.contained_by_top_level_function is not None]
    arranged = mutmut_files.function_trampoline_arrangement
    mutmut_files.function_trampoline_arrangement = _arranged
    try:
        code = mutmut_files.combine_mutations_to_source(parsed, changes).code
    finally:
        mutmut_files.function_trampoline_arrangement = arranged
    code = code.replace(MUTMUT_IMPORT, OUR_IMPORT)
    return code, list(_described(module, parsed, changes))


def _arranged(function: cst.FunctionDef, mutants: Iterable, class_name: str | None):
    """mutmut's copies of a function; those of a property are plain methods, and only the switch is a property."""
    if [_name(decorator) for decorator in function.decorators] != ["property"]:
        return _ARRANGED(function, mutants, class_name)
    declared, nodes, filled, names = _ARRANGED(function.with_changes(decorators=[]), mutants, class_name)
    first = nodes[0]
    nodes = [first.with_changes(decorators=[*function.decorators, *first.decorators]), *nodes[1:]]
    return declared, nodes, filled, names


_ARRANGED = mutmut_files.function_trampoline_arrangement


def _described(module: str, parsed: cst.Module, changes: list) -> Iterator[Mutant]:
    classes = {
        method: outer.name.value
        for outer in parsed.body
        if isinstance(outer, cst.ClassDef)
        for method in outer.body.body
    }
    seen: dict[str, int] = {}
    for function, own in mutmut_files.group_by_top_level_node(changes).items():
        if not isinstance(function, cst.FunctionDef):
            continue
        class_name = classes.get(function)
        before = parsed.code_for_node(function).strip()
        mangled = mangle_function_name(name=function.name.value, class_name=class_name) + "__mutmut"
        called = f"{class_name}.{function.name.value}" if class_name else function.name.value
        for i, change in enumerate(own):
            changed = mutmut_files.deep_replace(function, change.original_node, change.mutated_node)
            after = parsed.code_for_node(changed).strip()
            was, now = _difference(before, after)
            text = f"{module}\n{before}\n{was}\n{now}"
            seen[text] = seen.get(text, 0) + 1
            key = hashlib.sha256(f"{text}\n{seen[text]}".encode()).hexdigest()[:16]
            yield Mutant(module, called, f"{mangled}_{i + 1}", was, now, key)


def _difference(before: str, after: str) -> tuple[str, str]:
    old, new = [], []
    for line in difflib.ndiff(before.splitlines(), after.splitlines()):
        if line.startswith("- "):
            old.append(line[2:].strip())
        elif line.startswith("+ "):
            new.append(line[2:].strip())
    return "\n".join(old), "\n".join(new)
