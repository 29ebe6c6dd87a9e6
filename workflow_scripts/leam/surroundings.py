"""Where a run works: who else may read what it writes, where programs keep what they cache, and what the clock says."""

import contextlib
import os
import pwd
import shlex
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

OTHERS_READ, OTHERS_ENTER = stat.S_IRGRP | stat.S_IROTH, stat.S_IXGRP | stat.S_IXOTH
OWNER_ONLY = stat.S_IRWXG | stat.S_IRWXO  # what the umask takes from others
CACHE = Path(".snakemake/cache")  # for what would lie in a home, where there is none
AHEAD_S = 60  # by which the clock of a file system may be ahead
SHIPPED = ".md"  # what a checkout brings into its folder of results


def keep_private(begun: Iterable[str | Path] = ()) -> None:
    """Whatever this process and its children write from now on is their owner's alone, from the first byte.

    begun : files that this process has begun to write before
    """
    os.umask(os.umask(OWNER_ONLY) | OWNER_ONLY)
    for path in begun:
        os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)


def readable_by_others(folder: Path) -> list[Path]:
    """The files of a run that other accounts may read: their modes, and those of the folders above them, let them."""
    found = _files(folder, lambda mode: bool(mode & OTHERS_ENTER))
    return sorted(path for path, facts in found if facts.st_mode & OTHERS_READ and path.suffix != SHIPPED)


def _files(folder: Path, enters: Callable[[int], bool]) -> Iterator[tuple[Path, os.stat_result]]:
    """The regular files below a folder, in those folders whose mode ``enters`` is true of, links not followed; or the
    file itself that is given for a folder.
    """
    if folder.is_file():
        yield folder, folder.stat()
        return
    folders = [folder]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                facts = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(facts.st_mode) and enters(facts.st_mode):
                    folders.append(Path(entry))
                elif stat.S_ISREG(facts.st_mode):
                    yield Path(entry), facts


def fault_of_clock(*paths: Path) -> str:
    """Which of some files, and of those in some folders, were written in the future, as where a clock was put back; ""
    when there is none.

    Snakemake would delete what is made from them, as older than they are, after it was computed.
    """
    latest, found = time.time() + AHEAD_S, []
    for path in paths:
        ahead = [one for one, facts in _files(path, lambda _: True) if facts.st_mtime > latest]
        found += [(path, one) for one in sorted(ahead)]
    if not found:
        return ""
    where = " ".join(dict.fromkeys(shlex.quote(str(path)) for path, _ in found))
    return (
        f"files of a time to come, such as {found[0][1]} ({len(found)} in all): set the clock or, if it is right, give "
        f"them its time: find {where} -newermt now -exec touch {{}} +"
    )


def fault_of_interpreter(path: str) -> str:
    """What is wrong with where Python lies: Snakemake writes its path into a shell's line as it is. "" if nothing."""
    if shlex.quote(path) == path:
        return ""
    return (
        f"Python lies at {path!r}; Snakemake cannot run programs below a folder whose name holds a space or a sign "
        "that a shell reads: move the checkout, or make its environment elsewhere"
    )


def fault_of_checkout(path: str | Path) -> str:
    """What is wrong with where leam lies: Snakemake looks for wildcards in the paths of its files. "" if nothing."""
    if not {*"{}"} & {*str(path)}:
        return ""
    return f"leam lies at {str(path)!r}; Snakemake takes braces for wildcards: move the checkout to where none are"


def fault_of_closed(folder: Path) -> str:
    """Which folder of a run belongs to an account that keeps it to itself, and what to do; "" when there is none."""
    for closed in _closed(folder):
        owner = closed.stat().st_uid
        return (
            f"{closed} belongs to {account_name(owner)}, whose run keeps it private: set `results` to a folder of your "
            f"own; or set `private: false` in both runs, and have its owner open what is there (chmod -R g+rwX)"
        )
    return ""


def _closed(folder: Path) -> Iterator[Path]:
    for path in (folder, *(sorted(folder.iterdir()) if os.access(folder, os.R_OK | os.X_OK) else ())):
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            yield path


def account_name(number: int) -> str:
    """The name of an account, or its number where it has none."""
    return _name(number) or f"account-{number}"


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return ""


def home_fault() -> str:
    """Why programs cannot keep what they cache in this account's home, as on some clusters; "" when they can."""
    home = Path(os.path.expanduser("~"))
    if not home.is_absolute():
        return "this account has no home: HOME is not set, and its number stands in no list of accounts"
    cache = home / ".cache" / "snakemake"
    there = next(path for path in (cache, *cache.parents) if os.path.exists(path))
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written, where this account has its home"


def lacking_variables() -> dict[str, str]:
    """What this account lacks for programs that cache or ask for its name: {environment variable: its value}."""
    lacking: dict[str, str | Path] = {}
    if home_fault():
        home = {} if Path(os.path.expanduser("~")).is_absolute() else {"HOME": CACHE}
        caches = {"XDG_CACHE_HOME": CACHE, "MPLCONFIGDIR": CACHE / "matplotlib", "TRITON_CACHE_DIR": CACHE / "triton"}
        lacking |= {name: path.absolute() for name, path in (home | caches).items()}
    if not _name(os.getuid()):
        lacking["LOGNAME"] = account_name(os.getuid())
    return {name: str(value) for name, value in lacking.items() if name not in os.environ}
