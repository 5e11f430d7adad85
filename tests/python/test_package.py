# SPDX-License-Identifier: MIT
"""What the package promises of itself: stubs, docstrings, names."""
import ast
import inspect
import pathlib

import ringbus


def names_in_stub():
    """{"name": None} for functions and values, {"name": {members}} for classes, with what they inherit."""
    stub = ast.parse(pathlib.Path(ringbus.__file__).with_name("__init__.pyi").read_text())
    found = {}
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = None
        elif isinstance(node, ast.ClassDef):
            members = set()
            for base in node.bases:
                members |= found.get(getattr(base, "id", None)) or set()
            for item in node.body:
                members.add(item.target.id if isinstance(item, ast.AnnAssign) else
                            getattr(item, "name", "..."))
            found[node.name] = members - {"..."}
    return {name: members for name, members in found.items() if not name.startswith("_")}


def test_the_stub_names_what_there_is():
    stub = names_in_stub()
    assert set(stub) == set(ringbus.__all__)
    for name, members in stub.items():
        thing = getattr(ringbus, name)
        if members is None or issubclass(thing, BaseException):
            continue
        there = {member for member in vars(thing) if not member.startswith("_")}
        there -= {"n_fields", "n_sequence_fields", "n_unnamed_fields", "count", "index"}
        assert there == {member for member in members if not member.startswith("_")}, name


def test_everything_is_explained():
    for name in ringbus.__all__:
        thing = getattr(ringbus, name)
        assert thing.__doc__, name
        if inspect.isclass(thing) and not issubclass(thing, (BaseException, tuple)):
            for member, value in vars(thing).items():
                assert member.startswith("_") or value.__doc__, f"{name}.{member}"


def test_signatures_are_those_of_the_stub():
    stub = ast.parse(pathlib.Path(ringbus.__file__).with_name("__init__.pyi").read_text())
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    compared = 0
    for name, node in classes.items():
        for base in [name, *(base.id for base in node.bases if isinstance(base, ast.Name))]:
            for item in classes[base].body if base in classes else ():
                if not isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) or item.name.startswith("_"):
                    continue
                thing = inspect.getattr_static(getattr(ringbus, name, None), item.name, None)
                if not callable(thing):
                    continue
                names = [argument.arg for argument in
                         item.args.posonlyargs + item.args.args + item.args.kwonlyargs]
                assert list(inspect.signature(thing).parameters) == names, f"{name}.{item.name}"
                compared += 1
    assert compared > 40


def test_functions_take_what_the_stub_says():
    stub = ast.parse(pathlib.Path(ringbus.__file__).with_name("__init__.pyi").read_text())
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            there = [(p.name, p.kind) for p in
                     inspect.signature(getattr(ringbus, node.name)).parameters.values()]
            kinds = inspect.Parameter
            assert there == [*((a.arg, kinds.POSITIONAL_ONLY) for a in node.args.posonlyargs),
                             *((a.arg, kinds.POSITIONAL_OR_KEYWORD) for a in node.args.args),
                             *((a.arg, kinds.KEYWORD_ONLY) for a in node.args.kwonlyargs)], node.name


def test_errors_are_those_that_users_of_files_know():
    for error, builtin in ((ringbus.Error, OSError), (ringbus.Timeout, TimeoutError),
                           (ringbus.Empty, ringbus.Timeout), (ringbus.Full, ringbus.Timeout),
                           (ringbus.EndOfStream, EOFError), (ringbus.Finished, BrokenPipeError),
                           (ringbus.NotFound, FileNotFoundError), (ringbus.Exists, FileExistsError),
                           (ringbus.Denied, PermissionError), (ringbus.Forked, ChildProcessError),
                           (ringbus.TooLong, ValueError)):
        assert issubclass(error, builtin)
    for name in ringbus.__all__:
        thing = getattr(ringbus, name)
        if inspect.isclass(thing) and issubclass(thing, BaseException):
            assert issubclass(thing, ringbus.Error)
