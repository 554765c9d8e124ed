"""Outputs: files that appear whole or not at all, alone or several together.

Bytes go to a temporary place beside the target, which its process holds locked. Who writes into the same folder later
removes what a process that was killed has left there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import Error, OutputError

_TEMPORARY = re.compile(r"\.bitlite-[0-9a-f]{12}\.part")
_ATTEMPTS = 100


@contextlib.contextmanager
def write_atomic(path: str | os.PathLike[str], *, sources: Iterable[str | os.PathLike[str]] = ()) -> Iterator[BinaryIO]:
    """A binary file that takes its place at `path` when the block ends well; after a failure nothing is left of it.

    A link is followed; an existing file is replaced and its permissions are kept.

    Args:
        sources: files that are being read; a target that is one of them is refused.

    Raises:
        OutputError: the folder is missing or closed, the disk full, the target a directory, a device or a source.
    """
    name = os.fspath(path)
    target = _target(name, sources)
    mode = 0o600 if target.exists() else 0o666
    with _blamed(name, ValueError):
        temporary, handle = _locked(target.parent, lambda path: _create_file(path, mode))
    with _removed(temporary), _blamed(name), os.fdopen(handle, "wb") as file:
        yield file
        file.flush()
        _keep_mode(temporary, target)
        os.replace(temporary, target)


class Staging:
    """Files that are written and read back first, and take their places together when a `with` block ends well.

    After a failure every target is what it was. An `Error` that leaves the block names the targets, not the temporary
    files.

        with Staging() as staging:
            path = staging.place("m.ms")
            …write and check `path`…
    """

    def __init__(self) -> None:
        self._rooms: list[_Room] = []

    def __enter__(self) -> Staging:
        return self

    def place(self, path: str | os.PathLike[str], *, sources: Iterable[str | os.PathLike[str]] = ()) -> str:
        """Where to write `path` meanwhile; files put beside it go along. Raises OutputError, as `write_atomic`."""
        name = os.fspath(path)
        target = _target(name, sources)
        with _blamed(name, ValueError):
            folder, lock = _locked(target.parent, _create_folder)
        self._rooms.append(_Room(folder, lock, target, name))
        return str(self._rooms[-1].staged)

    def place_folder(self, path: str | os.PathLike[str], mark: str) -> str:
        """A folder to write the files of `path` into meanwhile; other files that are there stay.

        Raises:
            OutputError: as `check_own_folder`, and where no folder can be made.
        """
        name = os.fspath(path)
        check_own_folder(name, mark)
        with _blamed(name, ValueError, RuntimeError):
            target = Path(name).resolve()
            folder, lock = _locked(target.parent, _create_folder)
            room = _Folder(folder, lock, target, name)
            self._rooms.append(room)
            room.staged.mkdir()
        return str(room.staged)

    def staged(self) -> list[str]:
        """The temporary files, in the order in which they were placed; no folders."""
        return [str(room.staged) for room in self._rooms if not isinstance(room, _Folder)]

    def in_place(self, text: str) -> str:
        """The text with targets for temporary files."""
        for room in self._rooms:
            text = text.replace(str(room.staged), room.name)
        return text

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                self._commit()
        finally:
            for room in self._rooms:
                shutil.rmtree(room.folder, ignore_errors=True)
                os.close(room.lock)
        if isinstance(error, Error) and (message := self.in_place(error.message)) != error.message:
            raise error.reworded(message) from error

    def _commit(self) -> None:
        done: list[tuple[Path, Path | None]] = []
        made: list[Path] = []
        try:
            for room in self._rooms:
                with _blamed(room.name):
                    if isinstance(room, _Folder) and not room.target.is_dir():
                        room.target.mkdir()
                        made.append(room.target)
                    for staged, target in room.files():
                        _keep_mode(staged, target)
                        done.append((target, _kept(target, room.folder)))
                        os.replace(staged, target)
        except BaseException:
            for target, old in reversed(done):
                with contextlib.suppress(OSError):
                    if old is not None:
                        os.replace(old, target)
                    else:
                        os.unlink(target)
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise


@dataclass(frozen=True)
class _Room:
    """A locked folder beside the target that holds it, and its companions, until all are written."""

    folder: Path
    lock: int
    target: Path
    name: str

    @property
    def staged(self) -> Path:
        return self.folder / os.path.basename(self.name)

    def files(self) -> list[tuple[Path, Path]]:
        """(temporary file, target), companions first: a model is never there without its data."""
        beside = [p for p in sorted(self.folder.iterdir()) if p != self.staged]
        return [*((p, self.target.with_name(p.name)) for p in beside), (self.staged, self.target)]


class _Folder(_Room):
    """One whose target is a folder: every file goes into it."""

    def files(self) -> list[tuple[Path, Path]]:
        return [(p, self.target / p.name) for p in sorted(self.staged.iterdir())]


def check_own_folder(path: str | os.PathLike[str], mark: str) -> None:
    """Raises OutputError where files of ours could not be put into a folder: its own folder is missing or closed, or it
    holds files and no README.md that says `mark`."""
    name = os.fspath(path)
    with _blamed(name, ValueError, RuntimeError):
        target = Path(name).resolve()
        if not target.parent.is_dir():
            raise OutputError(f"the folder {target.parent} does not exist", file=name)
        if target.exists() and not target.is_dir():
            raise OutputError("is a file, and would be a folder", file=name, hint="another output name")
        there = target if target.is_dir() else target.parent
        if not os.access(there, os.W_OK | os.X_OK):
            raise OutputError("cannot be written: Permission denied", file=name)
        if target.is_dir() and any(target.iterdir()):
            readme = target / "README.md"
            if not readme.is_file() or mark.encode() not in readme.read_bytes()[:4096]:
                raise OutputError("holds files that are not bitlite's", file=name, hint="a folder of its own")


def check_target(path: str | os.PathLike[str], *, sources: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Raises now what `write_atomic` would raise after the work was done; nothing remains, nothing is replaced."""

    class _Tried(Exception):
        pass

    with contextlib.suppress(_Tried), write_atomic(path, sources=sources):
        raise _Tried


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raises OutputError where no file could be put into that folder, which may be made later."""
    name = os.fspath(path)
    try:
        target = Path(name).absolute()
        there = next(p for p in (target, *target.parents) if p.exists())
        reason = "" if there.is_dir() else f"{there} is not a directory"
        reason = reason or ("" if os.access(there, os.W_OK | os.X_OK) else "Permission denied")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    if reason:
        raise OutputError(f"cannot be written: {reason}", file=name)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Makes a folder that is not there, and those around it. Raises OutputError."""
    check_folder(path)
    with _blamed(os.fspath(path)):
        os.makedirs(path, exist_ok=True)


def _target(name: str, sources: Iterable[str | os.PathLike[str]]) -> Path:
    """The file that `name` stands for, links followed. Raises OutputError for what cannot be replaced."""
    with _blamed(name, ValueError, RuntimeError):  # a NUL in the name; a loop of links, before Python 3.13
        target = Path(name).resolve()
        if target.exists():
            for source in sources:
                if os.path.exists(source) and os.path.samefile(target, source):
                    raise OutputError("is the input file itself", file=name, hint="another output name")
            if not target.is_file():
                what = "a directory" if target.is_dir() else "not a regular file"
                raise OutputError(f"is {what}", file=name, hint="a file name for the output")
        if not target.parent.is_dir():
            raise OutputError(f"the folder {target.parent} does not exist", file=name)
        return target


@contextlib.contextmanager
def _blamed(name: str, *kinds: type[Exception]) -> Iterator[None]:
    """What the system (or one of `kinds`) says, as an OutputError of the file `name`."""
    try:
        yield
    except (OSError, *kinds) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"cannot be written: {reason}", file=name) from None


@contextlib.contextmanager
def _removed(temporary: Path) -> Iterator[None]:
    """Unlinks the temporary file where the block fails."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _locked(folder: Path, create: Callable[[Path], int]) -> tuple[Path, int]:
    """(temporary, descriptor that locks it) of what `create` makes; a lock ends with its process, however that ends."""
    _sweep(folder)
    for attempts_left in reversed(range(_ATTEMPTS)):
        temporary = folder / f".bitlite-{os.urandom(6).hex()}.part"
        try:
            handle = create(temporary)
        except FileNotFoundError:  # swept between its making and its opening, or the folder takes no files, as /proc
            if attempts_left == 0 or not folder.is_dir():
                raise
            continue
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, handle
        os.close(handle)  # swept before it was locked
    raise FileNotFoundError(errno.ENOENT, f"its folder loses files as they are made, {_ATTEMPTS} times in a row")


def _sweep(folder: Path) -> None:
    """Removes the temporary files and folders of processes that have died."""
    with os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if _TEMPORARY.fullmatch(entry.name)]
    for path in left:
        with contextlib.suppress(OSError):  # it is locked, or somebody else's
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISDIR(os.fstat(handle).st_mode):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    os.unlink(path)
            finally:
                os.close(handle)


def _create_file(path: Path, mode: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode)


def _create_folder(path: Path) -> int:
    path.mkdir(mode=0o700)
    return os.open(path, os.O_RDONLY)


def _keep_mode(temporary: Path, target: Path) -> None:
    """Gives the new file the permissions of the one that it replaces."""
    if target.exists():
        os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))


def _kept(target: Path, folder: Path) -> Path | None:
    """What stands at the target under a second name in `folder`; None where nothing does."""
    if not target.exists():
        return None
    old = folder / f".old-{os.urandom(6).hex()}"
    try:
        os.link(target, old)
    except OSError:  # a file system without hard links
        shutil.copy2(target, old)
    return old
