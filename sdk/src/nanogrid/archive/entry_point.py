"""Which file of the code a command runs, and where that file is among the files of an archive.

One rule for every kind of command: interpreters, modules, shells and what they call, ``make`` and
programs of the code. The file is searched at the top level, then in the only folder.
"""

import posixpath
import re
import shlex
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from nanogrid import names

# Programs that run another command: options whose value is the next argument, and how many
# arguments come before the command.
_WRAPPERS: Final = {
    "dumb-init": ((), 0),
    "env": (("-u", "-C", "--unset", "--chdir"), 0),
    "exec": ((), 0),
    "nice": (("-n",), 0),
    "nohup": ((), 0),
    "setsid": ((), 0),
    "stdbuf": (("-i", "-o", "-e"), 0),
    "time": ((), 0),
    "tini": (("-p", "-e"), 0),
    "xvfb-run": (("-e", "-f", "-n", "-p", "-s", "-w"), 0),
    "timeout": (("-k", "-s"), 1),
}
# Programs that read a file of a fixed name in the working directory.
_PROJECTS: Final = {
    "make": ("GNUmakefile", "makefile", "Makefile"),
    "gmake": ("GNUmakefile", "makefile", "Makefile"),
    "npm": ("package.json",),
    "pnpm": ("package.json",),
    "yarn": ("package.json",),
}
_PYTHON: Final = re.compile(r"(python|pypy)[\d.]*")
_SHELL: Final = re.compile(r"sh|bash|dash|ash|ksh|zsh")
_NODE: Final = re.compile(r"node|nodejs")
_SCRIPTED: Final = re.compile(r"ruby|perl|Rscript")
_OTHERS: Final = re.compile(r"php|lua|julia|deno|bun")
_WITH_CODE: Final = re.compile(r"-\w*[eEp]|-|--eval|--print")  # code, not a file, follows
_JAVA: Final = "java"
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_OPERATORS: Final = ("&&", "||", ";", "|", "&")

# File managers add these to archives. They are no part of the code.
_METADATA_FOLDERS: Final = ("__MACOSX", ".Spotlight-V100", ".Trashes", ".fseventsd", "$RECYCLE.BIN")
_METADATA_FILES: Final = (".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory")
_APPLE_DOUBLE: Final = "._"


class EntryPoint(NamedTuple):
    """The files that a command may run, the first that exists counts; none if it names no file.

    ``required``: the command fails without it. Otherwise the image may have it, as the standard
    library has ``python3 -m http.server``.
    """

    files: tuple[str, ...] = ()
    required: bool = False

    def found_in(self, files: Collection[str], folder: str = "") -> bool:
        """Whether one of the files is in a folder, which ends with a slash, or at the top level."""
        return any(f"{folder}{file}" in files for file in self.files)


def entry_point_of(command: Sequence[str]) -> EntryPoint:
    """What a command runs.

    Absolute paths below the workspace count; other absolute paths belong to the image.
    """
    words = _without_wrappers(command)
    if not words:
        return EntryPoint()
    program, arguments = posixpath.basename(words[0]), words[1:]
    if _PYTHON.fullmatch(program):
        return _python(arguments)
    if _SHELL.fullmatch(program):
        return _shell(arguments)
    if _NODE.fullmatch(program):
        return _node(_script(_first_file(arguments)))
    if _SCRIPTED.fullmatch(program):
        return _script(_first_file(arguments))
    if _OTHERS.fullmatch(program):  # a word may also be a task or a URL
        return _script(_first_file(arguments))._replace(required=False)
    if program == _JAVA:
        jar = arguments[arguments.index("-jar") + 1 :] if "-jar" in arguments else []
        return _script(jar[0] if jar else None)
    if program in _PROJECTS:
        return _project(program, arguments)
    return _script(words[0] if "/" in words[0] else None)  # without a slash PATH is searched


def _without_wrappers(command: Sequence[str]) -> list[str]:
    words = list(command)
    while words and (known := _WRAPPERS.get(posixpath.basename(words[0]))):
        with_value, arguments = known
        words = words[1:]
        while words and (words[0].startswith("-") or _ASSIGNMENT.match(words[0])):
            words = words[2:] if words[0] in with_value else words[1:]
        words = words[arguments:]
    return words


def _python(arguments: list[str]) -> EntryPoint:
    """Python's options may stand together: ``-Im app``. The rest of the argument is their value."""
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument in ("-", "--help", "--version"):
            return EntryPoint()
        if argument == "--" and rest:
            return _script(rest[0], folder=True)
        if not argument.startswith("-"):
            return _script(argument, folder=True)
        found = None if argument.startswith("--") else re.search("[cmWX]", argument)
        if found is None:
            continue
        value = argument[found.end() :] or (rest.pop(0) if rest else "")
        if found.group() == "m":
            return _module(value)
        if found.group() == "c":
            return EntryPoint()
    return EntryPoint()


def _module(name: str) -> EntryPoint:
    """``python3 -m``: a module of the code, or of the image."""
    if not name:
        return EntryPoint()
    path = name.replace(".", "/")
    first = name.partition(".")[0]
    package = () if first == name else (f"{first}/__init__.py",)
    return EntryPoint((f"{path}/__main__.py", f"{path}.py", *package))


def _shell(arguments: list[str]) -> EntryPoint:
    """A script, or the first command of ``-c``."""
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith(("-", "+")):
            return _script(argument)
        if argument.startswith("--"):
            rest = rest[1:] if argument in ("--rcfile", "--init-file") else rest
            continue
        if "s" in argument:
            return EntryPoint()
        rest = rest[argument.lower().count("o") :]  # each -o has a value: -euo pipefail
        if "c" in argument:
            return _shell_text(rest[0]) if rest else EntryPoint()
    return EntryPoint()


def _node(entry: EntryPoint) -> EntryPoint:
    """Node.js also finds ``app`` as ``app.js`` and as a folder."""
    names_of = [(file, f"{file}.js", f"{file}/index.js") for file in entry.files]
    return entry._replace(files=tuple(name for each in names_of for name in each))


def _shell_text(text: str) -> EntryPoint:
    """The file of the first command; not required, because a shell can do anything with it."""
    try:
        lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:  # a quotation without an end
        return EntryPoint()
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    ends = [at for at, word in enumerate(words) if word in _OPERATORS]
    words = words[: ends[0]] if ends else words
    return entry_point_of(words)._replace(required=False) if words else EntryPoint()


def _project(program: str, arguments: list[str]) -> EntryPoint:
    """``make`` and others: ``-f`` names another file, ``-C`` another folder."""
    folder, files = "", _PROJECTS[program]
    for option, value in pairwise(arguments):
        if option in ("-C", "--prefix", "--cwd", "--dir"):
            folder = value
        elif option == "-f":
            files = (value,)
    paths = (_in_workspace(posixpath.join(folder, file)) for file in files)
    return EntryPoint(tuple(path for path in paths if path))


def _first_file(arguments: list[str]) -> str | None:
    """The first argument that is no option; None if an option has the code itself."""
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if _WITH_CODE.fullmatch(argument):
            return None
        if argument in ("-r", "--require", "--import", "-I"):
            rest = rest[1:]
        elif not argument.startswith("-"):
            return rest[0] if argument == "run" and rest else argument  # deno run x.ts
    return None


def _script(path: str | None, *, folder: bool = False) -> EntryPoint:
    """A file that has to exist; ``folder``: Python also runs a folder that has a __main__.py."""
    if path is None:
        return EntryPoint()
    found = _in_workspace(path)
    if found is None:
        return EntryPoint()
    if not found:
        return EntryPoint(("__main__.py",), required=True) if folder else EntryPoint()
    return EntryPoint((found, f"{found}/__main__.py") if folder else (found,), required=True)


def _in_workspace(path: str) -> str | None:
    """The path below the workspace; None if it is not there."""
    full = posixpath.normpath(posixpath.join(names.WORKSPACE, path))
    if full == names.WORKSPACE:
        return ""
    top = f"{names.WORKSPACE}/"
    return full.removeprefix(top) if full.startswith(top) else None


def is_metadata(path: str) -> bool:
    """Whether a file manager has added a file to an archive, next to what the user packed."""
    top, _, rest = path.partition("/")
    if rest:
        return top in _METADATA_FOLDERS
    return top.lower() in _METADATA_FILES or top.startswith(_APPLE_DOUBLE)


def folder_of(files: Collection[str], entry: EntryPoint) -> str | None:
    """The folder that holds an entry point: "" is the top level; None when it is missing.

    Besides the top level only a folder that holds all files counts; metadata of file managers does
    not. An entry point that is not required is searched in the same way, and never missing.
    """
    if not entry.files or entry.found_in(files):
        return ""
    tops = {path.partition("/")[0] for path in files if not is_metadata(path)}
    folder = tops.pop() if len(tops) == 1 else ""
    if folder and entry.found_in(files, f"{folder}/"):
        return folder
    return None if entry.required else ""
