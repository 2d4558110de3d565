"""The parts of the house have an order, see CONTRIBUTING.md: none imports what stands beside or above it."""

import ast

import pytest

from tests.commands import REPOSITORY

# A part is a folder of utils, a file at its top, or models; parts of one line do not know each other.
ORDER = (
    {"errors"},
    {"files", "methods", "losses", "outliers", "prototypes", "models"},
    {"data"},
    {"checkpoint", "prepare"},
    {"evaluation", "zoo"},
    {"training", "detection"},
    {"cli"},
    {"results"},
)
LEVEL = {part: level for level, parts in enumerate(ORDER) for part in parts}
FILES = sorted(path for folder in ("models", "utils") for path in (REPOSITORY / folder).rglob("*.py"))


def part_of(module: str) -> str | None:
    """The part that a module belongs to; None where it is not ours, or an empty package."""
    first, *rest = module.split(".")
    return "models" if first == "models" else rest[0] if first == "utils" and rest else None


def imported(path) -> set[str]:
    """Modules that a file imports anywhere, by their full names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports have full names here"
            found |= {f"{node.module}.{alias.name}" if node.module == "utils" else node.module for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_file_imports_only_what_stands_below_it(path):
    own = part_of(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
    if own == "__init__":
        assert not path.read_text()
        return
    for module in imported(path):
        other = part_of(module)
        assert other in (None, own) or LEVEL[other] < LEVEL[own], f"{own} imports {module}"


def test_the_networks_import_nothing_of_what_surrounds_them():
    networks = [path for path in FILES if path.parent.name == "models"]
    assert not [module for path in networks for module in imported(path) if module.startswith("utils")]
