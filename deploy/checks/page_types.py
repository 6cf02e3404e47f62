"""The TypeScript types of the console's page, generated from `headrace_console.core.documents`.

`python deploy/checks/page_types.py` writes them; with `--check` it fails when the file differs.
"""

import sys
from pathlib import Path

from msgspec import inspect

from headrace.generated import write_or_check
from headrace_console.core.documents import ALL

TARGET = Path("services/console/page/src/documents.ts")
_HEAD = "// Generated from services/console/src/headrace_console/core/documents/ by `make schemas`. Do not edit.\n"
_PLAIN = {
    inspect.IntType: "number", inspect.FloatType: "number", inspect.StrType: "string", inspect.BoolType: "boolean",
    inspect.NoneType: "null", inspect.AnyType: "unknown",
}  # fmt: skip


def text() -> str:
    """The content of the file."""
    found: dict[str, inspect.StructType] = {}
    for kind in ALL:
        _collect(inspect.type_info(kind), found)
    return _HEAD + "".join(_interface(kind) for _, kind in sorted(found.items()))


def _collect(kind: inspect.Type, found: dict[str, inspect.StructType]) -> None:
    match kind:
        case inspect.StructType(cls=cls, fields=fields):
            if cls.__name__ not in found:
                found[cls.__name__] = kind
                for field in fields:
                    _collect(field.type, found)
        case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
            for one in types:
                _collect(one, found)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            _collect(item, found)
        case inspect.DictType(value_type=value):
            _collect(value, found)


def _interface(kind: inspect.StructType) -> str:
    doc = " ".join((kind.cls.__doc__ or "").split())
    lines = "".join(f"  {field.encode_name}: {_typed(field.type)};\n" for field in kind.fields)
    return f"\n/** {doc} */\nexport interface {kind.cls.__name__} {{\n{lines}}}\n"


def _typed(kind: inspect.Type) -> str:
    match kind:
        case inspect.StructType(cls=cls):
            return cls.__name__
        case inspect.LiteralType(values=values):
            return " | ".join(f'"{value}"' for value in values)
        case inspect.UnionType(types=types):
            return " | ".join(dict.fromkeys(_typed(one) for one in types))
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return f"({_typed(item)})[]"
        case inspect.TupleType(item_types=items):
            return f"[{', '.join(_typed(one) for one in items)}]"
        case inspect.DictType(value_type=value):
            return f"Record<string, {_typed(value)}>"
    return _PLAIN[type(kind)]


def main(arguments: list[str]) -> int:
    """Write the file, or compare it."""
    return write_or_check(TARGET, text(), "documents.py", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
