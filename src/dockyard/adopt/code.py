"""Read Python code by its syntax tree: names, imports, literals (pure)."""

import ast
import functools
import re
import warnings
from collections.abc import Iterator

broken: dict[str, str] = {}
"""What is wrong with each text that no tree could be made of."""


@functools.cache
def parse(text: str) -> ast.Module:
    """Return the syntax tree of a text, and always the same one; an empty one where this Python cannot read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # another's code: "invalid escape sequence" and the like are theirs
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        broken[text] = f", line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else f": {error}"
        return ast.Module([], [])


@functools.cache
def walk(tree: ast.Module) -> tuple[ast.AST, ...]:
    """Return every node of a module: each question goes through all of them, and finding them takes the time."""
    return tuple(ast.walk(tree))


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield every call in a module."""
    return (node for node in walk(tree) if isinstance(node, ast.Call))


@functools.cache
def guarded(tree: ast.Module) -> frozenset[int]:
    """Return the ids of those nodes that may be left out: tried, behind a question for them, or for another system."""
    return frozenset(id(node) for one in walk(tree) if _is_guard(one) for node in ast.walk(one))


def _is_guard(node: ast.AST) -> bool:
    if isinstance(node, ast.If | ast.IfExp):
        return bool(re.search(r"environ|getenv|platform|'nt'", ast.dump(node.test)))
    return isinstance(node, ast.Try)


@functools.cache
def imported_names(tree: ast.Module) -> dict[str, str]:
    """Return what each imported name of a module stands for: {"Flask": "flask.Flask", "np": "numpy"}."""
    names: dict[str, str] = {}
    for node in walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                names[alias.asname or alias.name] = f"{module}.{alias.name}"
    return names


def imported_packages(tree: ast.Module) -> set[str]:
    """Return the top-level packages that a module imports from."""
    return {full.partition(".")[0] for full in imported_names(tree).values()}


def dotted_name(node: ast.expr) -> str:
    """Return `os.environ.get` for that expression; empty for anything but names with dots."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        above = dotted_name(node.value)
        return f"{above}.{node.attr}" if above else ""
    return ""


def resolved_name(node: ast.expr, imports: dict[str, str]) -> str:
    """Return the full name behind an expression: `Flask` is flask.Flask where it was imported from there."""
    name = dotted_name(node)
    first, dot, rest = name.partition(".")
    return imports.get(first, first) + dot + rest


def text_of(node: ast.expr | None) -> str | None:
    """Return the text of a literal; None for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def texts(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each text literal and its line, those inside f-strings too."""
    for node in walk(tree) if isinstance(tree, ast.Module) else ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield each name that a module assigns at its top, also below `if` and `try`, and the value."""
    for node in top_level(tree.body):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions at the top of a module."""
    for node in top_level(tree.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run at import; what stands below `if __name__ == "__main__"` does not."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and "__main__" not in ast.dump(node.test):
            yield from top_level(node.body)
            yield from top_level(node.orelse)
        elif isinstance(node, ast.Try | ast.With):
            yield from top_level(node.body)


def required_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[str, ...]:
    """Return the arguments that a call has to give."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = positional[: len(positional) - len(arguments.defaults)]
    named = [name for name, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None]
    return tuple(argument.arg for argument in (*required, *named))


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """Return the value of a keyword of a call, or None."""
    return next((one.value for one in call.keywords if one.arg == name), None)
