"""`socketkit ls`: the sockets of this machine, as a table, as a tree of processes, or as JSON."""

from __future__ import annotations

import errno
import json
import sys
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from ..errors import SocketError
from ..inspect.processes import why_hidden
from ..inspect.selection import Selection, Subject
from .units import amount, duration, plural, span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from .._core import SocketEntry
    from ..inspect.history import Past
    from ..inspect.processes import Process
    from ..inspect.watch import Watched

    Judged = TypeVar("Judged", "Row", Watched, Past)

EPILOG = """\b
Examples:
  socketkit ls
  socketkit ls --listen exposed
  socketkit ls state=established port=443 !loopback
  socketkit ls 'use=database or name=postgres*' --tree
  socketkit ls --columns state,local,peer,received,sent,rtt 'received>10M'
  socketkit ls --json name=nginx | jq -r .local
  socketkit ls --watch !loopback
  sudo socketkit ls --kill peer=192.0.2.7

\b
A term is a word (loopback, exposed, listening, udp, orphan, encrypted ...), ~text for what has it
anywhere, or NAME=VALUE, also with != < <= > >= and ~; ! turns a term round, `or` stands between
alternatives, a comma between values. What stands under local and peer can be given to
`socketkit connect`. ? is what this user may not know: sudo.

\b
Names: NAMES

\b
Columns: COLUMNS
"""


@click.command("ls")
@click.argument("terms", nargs=-1, metavar="[TERM]...")
@click.option("-l", "--listen", is_flag=True, help="Only what waits for others: listeners, and open datagram sockets.")
@click.option("-a", "--all", "everything", is_flag=True, help="Without a TERM: Unix sockets, too.")
@click.option("--own", is_flag=True, help="Only the network namespace of this program.")
@click.option("--columns", "names", metavar="NAMES", help="Which columns, parted by commas.")
@click.option("--sort", metavar="NAME", help="By this column, the largest first if it is a number.")
@click.option("--tree", is_flag=True, help="By process.")
@click.option("-w", "--watch", is_flag=True, help="Go on: what opens and what closes, as it happens.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each socket, or for each change.")
@click.option("--kill", is_flag=True, help="Close those connections, after a question; needs CAP_NET_ADMIN.")
@click.option("--yes", is_flag=True, help="With --kill: do not ask.")
@click.option("--source", type=click.Choice(["auto", "netlink"]), default="auto", help="Whom to ask.")
def command(
    terms: tuple[str, ...],
    listen: bool,
    everything: bool,
    own: bool,
    names: str | None,
    sort: str | None,
    tree: bool,
    watch: bool,
    as_json: bool,
    kill: bool,
    yes: bool,
    source: Literal["auto", "netlink"],
) -> None:
    """List the sockets of this machine, and what they are for."""
    from .._core import SocketTable

    if sum((tree, as_json, kill)) > 1:
        raise click.UsageError("--tree, --json and --kill exclude each other")
    if kill and not terms:
        raise click.UsageError("--kill closes what the TERMs select, and there is none: name what is to go")
    if watch and (tree or kill):
        raise click.UsageError("--watch goes on: --tree and --kill look once")
    shown = [COLUMNS[name] for name in _column_names(names)]
    selection = Selection(" ".join(terms))
    if watch:
        _watch(str(selection), names, sort, own=own, listen=listen, unix=bool(terms or everything), as_json=as_json)
        return
    whole = SocketTable(namespaces="own" if own else "all", source=source)
    found = [entry for entry in whole.refresh() if _is_wanted(entry, selection, listen=listen)]
    hidden = 0
    if not (terms or everything):
        found, before = [entry for entry in found if "unix" not in entry.scheme], len(found)
        hidden = before - len(found)
    rows = _sorted([Row(entry) for entry in found], sort)
    if not names:
        shown = _with_namespaces(shown, rows)
    if as_json:
        _print_json(rows)
    elif kill:
        _kill(rows, shown, asked=yes)
    elif tree:
        _print_tree(rows)
    else:
        _print_table(rows, shown)
    _tell_what_is_missing(hidden, complete=whole.complete)


class Row(Subject):
    """A socket with what `ls` says of it beside what the kernel does."""

    __slots__ = ()


class Column(NamedTuple):
    """One column: its cell in a row, what it is sorted by, and whether it stands to the left."""

    cell: Callable[[Row | Watched | Past], str]
    key: Callable[[Row | Watched | Past], float | str | None]
    left: bool = True


def _watch(
    select: str, names: str | None, sort: str | None, *, own: bool, listen: bool, unix: bool, as_json: bool
) -> None:
    from ..inspect.watch import watch
    from .ls_watch import WATCHED_COLUMNS, Cells, watched
    from .running import run

    if sort is not None:
        _require_column(sort)

    def shown(row: Watched) -> bool:
        return (unix or "unix" not in row.entry.scheme) and (not listen or _waits(row.entry))

    def ordered(rows: list[Watched]) -> list[Watched]:
        return _sorted(rows, sort)

    watching = watch(select, namespaces="own" if own else "all")
    cells = Cells(WATCHED_COLUMNS if names is None else _column_names(names), COLUMNS)
    run(watched(watching, cells, shown=shown, ordered=ordered, as_json=as_json))


def _is_wanted(entry: SocketEntry, selection: Selection, *, listen: bool) -> bool:
    return (not listen or _waits(entry)) and selection.matches(entry)


def _waits(entry: SocketEntry) -> bool:
    return entry.state == "listening" or (entry.state == "unconnected" and entry.local is not None)


def _column_names(names: str | None) -> list[str]:
    if names is None:
        return DEFAULT_COLUMNS
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        _require_column(name)
    if not wanted:
        raise click.UsageError("--columns names none")
    return wanted


def _with_namespaces(shown: list[Column], rows: Sequence[Row]) -> list[Column]:
    """What stands in another network namespace must not be taken for what can be reached from here."""
    if any(row.entry.namespace_name for row in rows):
        return [*shown, COLUMNS["namespace"]]
    return shown


def _require_column(name: str) -> None:
    if name not in COLUMNS:
        from ..schemes import did_you_mean

        hint = did_you_mean(name, tuple(COLUMNS)) or f"there are {', '.join(COLUMNS)}"
        raise click.UsageError(f"there is no column {name} ({hint})")


def _sorted(rows: list[Judged], name: str | None) -> list[Judged]:
    """By what they are, listeners first; or by one column, and what is not known last."""
    if name is None:
        return sorted(rows, key=lambda row: (row.entry.state not in FIRST_STATES, row.entry.scheme, _place(row)))
    _require_column(name)
    return by_column(rows, COLUMNS[name])


def by_column(rows: list[Judged], column: Column) -> list[Judged]:
    """Numbers from the largest on, text from A on, and what is not known last."""
    keyed = [(column.key(row), row) for row in rows]
    known = [pair for pair in keyed if pair[0] is not None]
    numbers = bool(known) and not isinstance(known[0][0], str)
    known.sort(key=lambda pair: pair[0], reverse=numbers)  # type: ignore[arg-type, return-value]
    return [row for _, row in known] + [row for value, row in keyed if value is None]


def _place(row: Row | Watched | Past) -> tuple[str, int]:
    local = row.entry.local
    return ("", 0) if local is None else (local.host or local.path or "", local.port or 0)


# --- what is printed


def _print_table(rows: Sequence[Row], shown: Sequence[Column]) -> None:
    click.echo("\n".join(_lines(rows, shown)))


def _lines(rows: Sequence[Row], shown: Sequence[Column]) -> list[str]:
    from .columns import columns

    header = [next(name for name, column in COLUMNS.items() if column is one) for one in shown]
    left = [index for index, column in enumerate(shown) if column.left]
    cells = [column.cell for column in shown]
    lines = columns(header, [[cell(row) for cell in cells] for row in rows], left=left)
    return _fitted(lines) if sys.stdout.isatty() else lines


def _fitted(lines: Sequence[str]) -> list[str]:
    """On a terminal a socket is one line; a pipe gets all of it."""
    from shutil import get_terminal_size

    width = get_terminal_size().columns
    return [line if len(line) <= width else line[: width - 1] + "…" for line in lines]


def _print_tree(rows: Sequence[Row]) -> None:
    """A process, and its sockets below it; one that several processes hold stands under each."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        processes = row.processes
        if not processes:
            groups.setdefault("not known whose: sudo" if processes is None else "nobody's", []).append(row)
        for process in processes or ():
            groups.setdefault(_described(process), []).append(row)
    shown = [COLUMNS[name] for name in ("state", "local", "peer", "use")]
    for title, members in groups.items():
        click.echo(title)
        for line in _lines(members, shown)[1:]:
            click.echo(f"  {line}")


def _described(process: Process) -> str:
    words = [f"pid {process.pid}", process.user or "?"]
    words += [process.unit] if process.unit else []
    words += [f"container {process.container}"] if process.container else []
    words += [process.executable] if process.executable else []
    return f"{process.name} ({', '.join(words)})"


def _print_json(rows: Sequence[Row]) -> None:
    from ..inspect.table import as_json

    for row in rows:
        use = row.use
        said = {"name": use.name, "protocol": use.protocol, "confidence": use.confidence, "reason": use.reason}
        click.echo(json.dumps({**as_json(row.entry), "use": said, "encrypted": use.encrypted}))


def _tell_what_is_missing(hidden: int, *, complete: bool) -> None:
    """On stderr, so that a pipe gets sockets and nothing else."""
    if hidden:
        click.echo(f"and {plural(hidden, 'Unix socket')}: --all", err=True)
    if not complete:
        click.echo(f"? is what cannot be known: {why_hidden()}", err=True)


# --- --kill


def _kill(rows: Sequence[Row], shown: Sequence[Column], *, asked: bool) -> None:
    from ..inspect.table import destroy

    if not rows:
        click.echo("no socket is selected", err=True)
        return
    _print_table(rows, shown)
    if not asked:
        from .prompt import confirm

        answer = confirm(f"Close {plural(len(rows), 'socket')}?")
        if answer is None:
            raise click.UsageError("--kill asks before it closes, and there is no terminal: add --yes")
        if not answer:
            return
    closed, ended, refused = 0, 0, list[SocketError]()
    for row in rows:
        try:
            destroy(row.entry)
            closed += 1
        except SocketError as failure:
            if failure.errno == errno.ENOENT:
                ended += 1  # while somebody thought about it
            else:
                refused.append(failure)
    if closed or not refused:
        gone = f"; {ended:,} had ended already" if ended else ""
        click.echo(f"closed {plural(closed, 'socket')}{gone}", err=True)
    if refused:
        raise refused[0]


# --- columns


def _peer(row: Row | Watched | Past) -> str:
    """The other side; of what waits for one, from where it can be reached."""
    entry = row.entry
    if entry.peer is not None:
        return str(entry.peer)
    return f"({entry.exposure})" if entry.state in FIRST_STATES and entry.local is not None else "-"


def _process(row: Row | Watched | Past) -> str:
    processes = row.processes
    if processes is None:
        return "?"
    if not processes:
        return "-"
    first = f"{processes[0].name}[{processes[0].pid}]"
    return first if len(processes) == 1 else f"{first} +{len(processes) - 1}"


def _first_process(name: str) -> Column:
    def cell(row: Row | Watched | Past) -> str:
        processes = row.processes
        if processes is None:
            return "?"
        return str(getattr(processes[0], name) or "-") if processes else "-"

    return Column(cell, cell)


def _text(name: str) -> Column:
    def cell(row: Row | Watched | Past) -> str:
        value = getattr(row.entry, name)
        return "?" if value is None else str(value) or "-"

    return Column(cell, cell)


def _number(name: str, shown: Callable[[float], str] = "{:,}".format) -> Column:
    def cell(row: Row | Watched | Past) -> str:
        value = getattr(row.entry, name)
        return "-" if value is None else shown(value)

    def key(row: Row | Watched | Past) -> float | None:
        value: float | None = getattr(row.entry, name)
        return value

    return Column(cell, key, left=False)


def _use(row: Row | Watched | Past) -> str:
    use = row.use
    return use.name if use.confidence >= SURE or not use.confidence else f"{use.name}?"


def _age(row: Row | Watched | Past) -> str:
    """Between what has been seen to move and when its owner began."""
    at_least, at_most = row.entry.youngest_seconds, row.entry.oldest_seconds
    if at_most is None:
        return "?" if at_least is None else f"> {span(at_least)}"
    return f"< {span(at_most)}"


def _of_use(name: str) -> Column:
    def cell(row: Row | Watched | Past) -> str:
        return str(getattr(row.use, name)) or "-"

    return Column(cell, cell)


FIRST_STATES = ("listening", "unconnected")
SURE = 0.5
DEFAULT_COLUMNS = ["state", "local", "peer", "process", "user", "use"]

COLUMNS: dict[str, Column] = {
    "state": _text("state"),
    "local": Column(lambda row: str(row.entry.local or "-"), _place),  # type: ignore[arg-type]
    "peer": Column(_peer, _peer),
    "process": Column(_process, _process),
    "user": Column(lambda row: row.entry.user or "?", lambda row: row.entry.user),
    "use": Column(_use, lambda row: row.use.name),
    "protocol": _of_use("protocol"),
    "confidence": Column(lambda row: f"{row.use.confidence:.0%}", lambda row: row.use.confidence, left=False),
    "reason": _of_use("reason"),
    "encrypted": _of_use("encrypted"),
    "scheme": _text("scheme"),
    "exposure": _text("exposure"),
    "namespace": _text("namespace_name"),
    "interface": Column(lambda row: row.entry.interface or "-", lambda row: row.entry.interface),
    "exe": _first_process("executable"),
    "unit": _first_process("unit"),
    "container": _first_process("container"),
    "cgroup": _first_process("cgroup"),
    "receive-queue": _number("receive_queue"),
    "send-queue": _number("send_queue"),
    "received": _number("received_bytes", amount),
    "sent": _number("sent_bytes", amount),
    "rtt": _number("round_trip_ms", lambda value: duration(value / 1e3)),
    "retransmits": _number("retransmits"),
    "dropped": _number("dropped"),
    "quiet": _number("quiet_seconds", span),
    "age": Column(_age, lambda row: row.entry.oldest_seconds, left=False),
    "inode": _number("inode", str),
}


def _epilog() -> str:
    from textwrap import fill

    from ..inspect.selection import FIELDS

    names = fill(", ".join(FIELDS), 96, initial_indent="Names: ")
    return EPILOG.replace("Names: NAMES", names).replace(
        "Columns: COLUMNS", fill(", ".join(COLUMNS), 96, initial_indent="Columns: ")
    )


command.epilog = _epilog()
