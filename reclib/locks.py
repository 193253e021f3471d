"""One process at a time in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from reclib.errors import ReclibError


@contextmanager
def locked(folder: Path, who: str, mend: str) -> Iterator[None]:
    """Keep every other process out of a folder; the lock ends with this process.

    Parameters
    ----------
    folder
        Made if it is not there. The hidden file ``.lock`` in it stays behind.
    who
        What writes to it, for the message.
    mend
        What to do where another one does.

    Raises
    ------
    ReclibError
        Another one does, or nobody can write there.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ReclibError(f"another {who} writes to {folder}; {mend}") from None
    except OSError as error:
        raise ReclibError(
            f"cannot write to {folder} ({error}); make room, or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()
