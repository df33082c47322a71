"""Files are written whole or not at all."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from methods.base.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
LOCAL, REFERENCE = ROOT / "results" / "local", ROOT / "results" / "reference"


def write_atomically(file: Path, text: str | bytes) -> None:
    """Write `file` through a temporary one beside it. At any moment it is the old one or the new one, whole."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as out:  # with the rights that the user's umask leaves, as any other file
            out.write(text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, file)
    except OSError as error:
        raise UserError(
            f"cannot write {file}: {error.strerror}; finished runs are kept, the same command goes on"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()  # it is there if something failed


def read_text(file: Path) -> str:
    """Return the text of a file in UTF-8. UserError names a file that cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"cannot read {file}: it is not text in UTF-8 ({error.reason} at byte {error.start})"
        ) from error


def set_aside(file: Path) -> Path:
    """Move a damaged file out of the way, beside those moved earlier. Return its new place."""
    places = (file.with_suffix(f".damaged{n or ''}") for n in range(1000))
    aside = next(place for place in places if not place.exists())
    try:
        os.replace(file, aside)
    except OSError as error:
        raise UserError(f"{file} is damaged and cannot be moved away ({error.strerror}): remove it") from error
    return aside


def shown(file: Path) -> Path:
    """Return a path as a user reads it: relative to the current folder if it lies in there."""
    try:
        return file.resolve().relative_to(Path.cwd())
    except ValueError:
        return file
