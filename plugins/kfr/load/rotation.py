"""A new staging key: everything that must last is sealed anew, and nothing goes on that began under the old one.

Fingerprints are keyed too, and tell a run which bytes it has sent and which rows its samples drew. Under the new
key they would come out otherwise: a run that went on over the change would send its files a second time and draw
its samples anew. So the staged files of runs that did not end are removed, and with them the runs' ways to go on;
a new run does their work, as it does after any failed one. What is kept (sends, mirror, removals, reports) refers
to itself by names that were once fingerprints and stay as they are.
"""

from dataclasses import dataclass

from kfr.load.sealing import StateDamaged
from kfr.load.staging import Place, Staging
from kfr.register.errors import Fatal

RUNS = "runs"
LEASE = "state/lease"  # sealed anew last: until then no run can take the register


class RegisterHeld(Fatal):
    """A run holds the register: the key is not changed under its hands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What came of it; counts of files."""

    sealed: int  # in all, under the new key now
    removed: int  # of runs that did not end


def rotate(old: Staging, new: Staging) -> Rotation:
    """Seal everything of an institution under the key of `new`; after a crash it goes on where it was.

    :raises RegisterHeld: a run holds the register, so nothing was changed.
    :raises StateDamaged: files that open under neither key; all others are done. They are named.
    """
    before, after = old.everything, new.everything
    _require_free(before, after)
    names = [name for name in after.files() if name != LEASE and not name.startswith(f"{RUNS}/")]
    damaged = [name for name in names if not _seal_anew(before, after, name)]
    if damaged:
        raise StateDamaged(
            f"{len(damaged)} files open under neither key: {', '.join(damaged)}. All others are sealed under the "
            "new one. Restore these from a backup (or delete them, if you know what they are), then run this "
            "again: no run can take the register before it has ended."
        )
    removed = sum(after.remove(folder) for folder in after.names(RUNS))
    if after.exists(LEASE):
        _seal_anew(before, after, LEASE)
    return Rotation(sealed=len(after.files()), removed=removed)


def _require_free(before: Place, after: Place) -> None:
    if not after.exists(LEASE):
        return
    try:
        lease = after.read_json(LEASE)
    except StateDamaged:
        lease = before.read_json(LEASE)
    if lease["held"]:
        raise RegisterHeld(
            f"Run {lease['run_id']} of {lease['dag_id']} holds the register, so nothing was changed. Put the old "
            "key back into the connection, let the run end or clear it, see release_register succeed, pause the "
            "Dags, and begin again."
        )


def _seal_anew(before: Place, after: Place, name: str) -> bool:
    """Whether the file is sealed under the new key now."""
    for place in (after, before):
        try:
            plain = place.read(name)
        except StateDamaged:
            continue
        if place is before:
            after.write(name, plain)
        return True
    return False
