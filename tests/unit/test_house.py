"""The rules of the house, read from the tree: imports, sizes, names, and what is kept out."""

from __future__ import annotations

import ast
import importlib
import io
import re
import statistics
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "fiveobs"

#: From low to high: a module imports from its own layer and from those above it in this list only.
#: A name stands for itself and for all that is inside it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("exceptions", "_version", "_report", "_loading", "_wake", "_yielding"),
    (
        *("types", "_ids", "_sizes", "_secrets", "_redact"),
        *(
            "_parsers",
            "_defaults",
            "_setting",
            "_settings",
            "_config",
            "_carrier",
            "_context",
            "_spec",
        ),
    ),
    ("_failure", "_figures", "_control", "_queues", "journal"),
    ("tracks",),
    (
        "_fanout",
        "_subscription",
        "_dispatch",
        "_bus",
        "_shippers",
        "_signals",
        "_pipeline",
        "_runtime",
    ),
    (
        "_others",
        "_log",
        "_stage",
        "_job",
        "_lifecycle",
        "_observe",
        "connector",
        "executors",
    ),
    ("monitor", "client"),
    ("testing", "pytest_plugin", "contrib", "cli", "__main__"),
)
#: All that the monitor may know of the worker side.
MONITOR_MAY_IMPORT = (
    *("exceptions", "_version", "_report", "types", "_parsers", "_config", "_control", "_others"),
    "_runtime",
    *("journal.reader", "journal.segments", "journal.locks"),
)

#: Migrations are generated, loaded by Alembic alone, and never changed once they are released.
MIGRATIONS = PACKAGE / "monitor" / "store" / "migrations"

MAX_FILE_LINES = 500
MAX_MEDIAN_FUNCTION_LINES = 8
MAX_P90_FUNCTION_LINES = 25
MAX_FUNCTION_LINES = 50
#: The comment that says why a function is longer than that.
LONG_COMMENT = re.compile(r"#\s*Long\b.{10,}")


def dotted(module: str) -> str:
    return f"fiveobs.{module}" if module else "fiveobs"


@dataclass(frozen=True, kw_only=True)
class Import:
    """One module of ours importing another."""

    importer: str
    imported: str
    #: ``False`` inside a function: it cannot make a cycle when modules load.
    at_import: bool
    line: int

    def __str__(self) -> str:
        names = f"{dotted(self.importer)} imports {dotted(self.imported)}"
        return f"{names} (line {self.line})"


# --- reading the tree ---


@cache
def module_files() -> dict[str, Path]:
    """Return the file of every module, by its name without ``fiveobs.``; the package is ``""``."""
    files = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(MIGRATIONS):
            continue
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        files[".".join(part for part in parts if part != "__init__")] = path
    return files


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def is_type_checking(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def import_statements(
    node: ast.AST, *, at_import: bool = True
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield every import that can run below the node, and whether it does when the module loads.

    What stands under ``TYPE_CHECKING`` never runs, so a name for annotations may come from above.
    """
    for child in node.orelse if is_type_checking(node) else ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_import
        in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from import_statements(child, at_import=at_import and not in_function)


def imported_names(module: str, path: Path, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield the dotted names that the statement asks for, those of other packages included."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        package = ["fiveobs", *(module.split(".") if module else [])]
        if path.name != "__init__.py":
            package.pop()
        package = package[: len(package) - (node.level - 1)]
        base = ".".join([*package, base] if base else package)
    yield from (f"{base}.{alias.name}" for alias in node.names)


def to_module(name: str) -> str | None:
    """Return the module of ours that holds the dotted name, or ``None`` for a foreign name."""
    parts = name.split(".")
    if parts[0] != "fiveobs":
        return None
    for end in range(len(parts), 0, -1):
        candidate = ".".join(parts[1:end])
        if candidate in module_files():
            return candidate
    return None


@cache
def all_imports() -> tuple[Import, ...]:
    found = []
    for module, path in module_files().items():
        for node, at_import in import_statements(parse(path)):
            for name in imported_names(module, path, node):
                target = to_module(name)
                if target is not None and target != module:
                    edge = Import(
                        importer=module, imported=target, at_import=at_import, line=node.lineno
                    )
                    found.append(edge)
    return tuple(found)


def is_in(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def layer(module: str) -> int | None:
    """Return the number of the module's layer; the package itself is above all of them."""
    if not module:
        return len(LAYERS)
    return next((at for at, names in enumerate(LAYERS) if is_in(module, names)), None)


@cache
def tree_files() -> tuple[Path, ...]:
    """Return every file that git has or would take; without git, every file that is not hidden."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.decode().split("\0") if name]
        paths = [ROOT / name for name in names]
    else:
        left_out = {"build", "dist", "__pycache__"}
        paths = [
            path
            for path in ROOT.rglob("*")
            if not any(
                part in left_out or part.startswith(".venv") or part.endswith("_cache")
                for part in path.relative_to(ROOT).parts
            )
        ]
    return tuple(path for path in paths if path.is_file())


def tree_texts() -> Iterator[tuple[str, str]]:
    """Yield the name and text of every file of the tree, this one left out."""
    for path in tree_files():
        if path != Path(__file__).resolve():
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8", errors="ignore")


# --- imports ---


def test_every_module_has_a_layer() -> None:
    """A module that no layer names fails here, so that a new one is given its place."""
    homeless = [module for module in module_files() if layer(module) is None]
    assert homeless == [], f"say in LAYERS where these belong: {homeless}"


def test_imports_never_point_upward() -> None:
    """No module imports from a higher layer, not even inside a function."""
    upward = [
        str(edge)
        for edge in all_imports()
        if (low := layer(edge.importer)) is not None
        and (high := layer(edge.imported)) is not None
        and low < high
    ]
    assert upward == [], "\n".join(upward)


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    """The imports that run when modules load form no cycle."""
    graph: dict[str, set[str]] = {module: set() for module in module_files()}
    for edge in all_imports():
        if edge.at_import:
            graph[edge.importer].add(edge.imported)
    while leaves := [module for module, targets in graph.items() if not targets]:
        for leaf in leaves:
            del graph[leaf]
        for targets in graph.values():
            targets.difference_update(leaves)
    assert graph == {}, f"a cycle is among these: {graph}"


def test_nothing_but_the_command_line_imports_the_monitor() -> None:
    """Worker code runs without the monitor's packages, so it must not reach for its modules."""
    wrong = [
        str(edge)
        for edge in all_imports()
        if is_in(edge.imported, ("monitor",)) and not is_in(edge.importer, ("monitor", "cli"))
    ]
    assert wrong == [], "\n".join(wrong)


def test_the_monitor_knows_only_types_and_the_reader() -> None:
    """The monitor meets the worker side in the journal and the shared types, nowhere else."""
    wrong = [
        str(edge)
        for edge in all_imports()
        if is_in(edge.importer, ("monitor",))
        and not is_in(edge.imported, ("monitor", *MONITOR_MAY_IMPORT))
    ]
    assert wrong == [], "\n".join(wrong)


def test_the_client_knows_no_monitor_and_no_tracks() -> None:
    """Asking needs neither what serves nor what records: only ids, settings and types."""
    known = ("client", "exceptions", "_version", "types", "_config")
    wrong = [
        str(edge)
        for edge in all_imports()
        if is_in(edge.importer, ("client",)) and not is_in(edge.imported, known)
    ]
    assert wrong == [], "\n".join(wrong)


def test_nothing_imports_contrib() -> None:
    """The integrations build on the core; the core does not know of them."""
    wrong = [
        str(edge)
        for edge in all_imports()
        if is_in(edge.imported, ("contrib",)) and not is_in(edge.importer, ("contrib",))
    ]
    assert wrong == [], "\n".join(wrong)


def test_importing_fiveobs_loads_no_third_party() -> None:
    """``import fiveobs`` in a new process loads nothing but fiveobs and the standard library."""
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import fiveobs\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(names - sys.stdlib_module_names - {'fiveobs'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


# --- sizes ---


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function and how many lines of code it has: no docstring, comment or blank line."""

    where: str
    code_lines: int
    #: The comment that says why it is long is there.
    is_explained: bool


def code_lines(text: str) -> set[int]:
    """Return the numbers of the lines that hold code."""
    empty = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    return {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in empty and token.type != tokenize.ENDMARKER
        for line in range(token.start[0], token.end[0] + 1)
    }


def body_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    return node.body[1:] if ast.get_docstring(node) is not None else node.body


def is_stub(body: list[ast.stmt]) -> bool:
    """Return whether there is nothing to measure: a protocol's method or an overload."""
    return all(isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in body)


def functions_of(path: Path) -> Iterator[Function]:
    text = path.read_text(encoding="utf-8")
    code, lines = code_lines(text), text.splitlines()
    for node in ast.walk(parse(path)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = body_without_docstring(node)
        if is_stub(body):
            continue
        first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        end = node.end_lineno or node.lineno
        yield Function(
            where=f"{path.relative_to(ROOT)}:{node.lineno} {node.name}",
            code_lines=len(code.intersection(range(body[0].lineno, end + 1))),
            is_explained=any(LONG_COMMENT.search(line) for line in lines[max(first - 4, 0) : end]),
        )


@cache
def functions() -> tuple[Function, ...]:
    return tuple(one for path in module_files().values() for one in functions_of(path))


def test_files_are_short() -> None:
    """No file of the package is longer than 500 lines."""
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in module_files().values()
    }
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_LINES} == {}


def test_most_functions_are_short() -> None:
    """Half the functions have at most 8 lines of code, and nine in ten at most 25."""
    sizes = sorted(one.code_lines for one in functions())
    assert statistics.median(sizes) <= MAX_MEDIAN_FUNCTION_LINES
    assert statistics.quantiles(sizes, n=10)[8] <= MAX_P90_FUNCTION_LINES


def test_a_long_function_says_why() -> None:
    """A function above 50 lines of code has a comment ``# Long because …`` in or right above it."""
    unexplained = [
        f"{one.where}: {one.code_lines} lines"
        for one in functions()
        if one.code_lines > MAX_FUNCTION_LINES and not one.is_explained
    ]
    assert unexplained == []


# --- names ---


def sort_key(name: str) -> tuple[int, str]:
    """Order constants, then classes, then the rest: the order that the linter keeps, too."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return kind, name


def declared_all(path: Path) -> list[str] | None:
    """Return the module's ``__all__`` as it is written, or ``None`` where it has none."""
    for node in parse(path).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(one, ast.Name) and one.id == "__all__" for one in targets):
                return [str(name) for name in ast.literal_eval(node.value)]
    return None


def modules_with_all() -> list[str]:
    return [module for module, path in module_files().items() if declared_all(path) is not None]


def test_the_package_declares_its_public_names() -> None:
    """``fiveobs.__all__`` exists and is what ``dir(fiveobs)`` offers, submodules left out."""
    package = importlib.import_module("fiveobs")
    offered = {
        name
        for name in dir(package)
        if not name.startswith("_") and f"fiveobs.{name}" not in sys.modules
    } - {"annotations"}
    declared = {name for name in package.__all__ if f"fiveobs.{name}" not in sys.modules}
    assert offered == declared - {"__version__"}


@pytest.mark.parametrize("module", modules_with_all(), ids=dotted)
def test_all_is_sorted(module: str) -> None:
    """``__all__`` is sorted and names nothing twice."""
    declared = declared_all(module_files()[module]) or []
    assert declared == sorted(set(declared), key=sort_key)


@pytest.mark.parametrize("module", modules_with_all(), ids=dotted)
def test_all_names_what_the_module_has(module: str) -> None:
    """Every name in ``__all__`` can be had from the module."""
    declared = declared_all(module_files()[module]) or []
    try:
        loaded = importlib.import_module(dotted(module))
    except ImportError as error:
        if (error.name or "fiveobs").partition(".")[0] == "fiveobs":
            raise
        pytest.skip(f"needs {error.name}")
    assert [name for name in declared if not hasattr(loaded, name)] == []


@pytest.mark.parametrize(
    "module", [name for name in modules_with_all() if "._" not in dotted(name)], ids=dotted
)
def test_all_leaves_no_public_definition_out(module: str) -> None:
    """What a public module defines is in its ``__all__`` or has an underscore."""
    path = module_files()[module]
    defined = {
        node.name
        for node in parse(path).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
    }
    assert defined - set(declared_all(path) or []) == set()


# --- what is kept out of the tree ---


def test_no_file_names_a_package_registry() -> None:
    """No file holds the host name of a package registry: where packages come from is the user's."""
    hosts = [
        ".".join(parts)
        for parts in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("yarnpkg", "com"),
            ("crates", "io"),
            ("golang", "org"),
            ("maven", "org"),
            ("rubygems", "org"),
            ("deb", "debian", "org"),
        )
    ]
    found = [f"{name}: {host}" for name, text in tree_texts() for host in hosts if host in text]
    assert found == []


def test_no_lock_file_is_in_the_tree() -> None:
    """Lock files record download addresses, so versions are bounded in pyproject.toml instead."""
    names = {"Pipfile.lock", "package-lock.json", "pdm.lock", "poetry.lock", "uv.lock", "yarn.lock"}
    assert [str(path) for path in tree_files() if path.name in names] == []


def test_nothing_is_left_to_do() -> None:
    """No file carries a note to do something later: open work is kept where work is kept."""
    marks = re.compile(rf"\b({'TO'}DO|FIX{'ME'}|X{'XX'})\b")
    found = [
        f"{name}:{number}"
        for name, text in tree_texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if marks.search(line)
    ]
    assert found == []


def test_links_between_files_lead_somewhere() -> None:
    """Every relative link of a Markdown file leads to a file, and to a heading that it has."""
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "check_links.py"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
