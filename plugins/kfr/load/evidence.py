"""What the sent files say of their customers: who is there, who may be, who is not.

A file whose witnesses were found is proven, and with it everyone in it; but not who was looked for in vain, or was
refused, or is in no other file if something else can have brought all its witnesses.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from kfr.load import refusals
from kfr.load.journal import Send
from kfr.load.world import World
from kfr.relationships.customers import NOTHING, among, distinct, union
from kfr.relationships.packing import Ints, ids_of

PLAN = "plan.json"
REPLACED = "replaced.json"  # names of the sends that the run had made when it planned last


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one send says; `absent` are customers, the others packed relationships, all sorted."""

    there: Ints = field(repr=False)
    maybe: Ints = field(repr=False)
    absent: Ints = field(repr=False)


class Files:
    """The files of which any row may be in the register, by their fingerprints; each is read once."""

    def __init__(self, world: World, sends: Iterable[Send]) -> None:
        journal = world.journal
        self._world = world
        self._replaced = set(replaced(world))
        #: Whether the run has a plan; while it is made, its sends are of one that is over.
        self.is_planned = world.place.exists(PLAN)
        self.sends = list(sends)
        changes = [journal.start_changes(run)[:, 0] for run in journal.runs_with("starts")]
        self._filed_again = union(*changes)
        rows = {send.file: journal.rows(send) for send in self.sends if send.loads}
        again = {file: among(held, self._filed_again) for file, held in rows.items()}
        #: Without whom was only filed again with another start: they are there, and which start is, a look-up says.
        self.rows = {file: rows[file][~again[file]] for file in rows}
        archived = journal.archived_doubtful(world.now)
        #: Sends that may come yet though their entry is archived.
        self.archived = [send for send, _ in archived]
        #: The same rows of those; not of the same bytes sent again.
        self.coming = {
            send.file: coming[~among(coming, self._filed_again)]
            for send, coming in archived
            if send.file not in rows
        }
        #: What was filed again and may have been loaded, packed and sorted.
        self.filed_again = union(*(rows[file][again[file]] for file in rows))

    def show(self) -> None:
        """Record which witnesses something else can have brought, and which proven sends are shown by the others.

        At once, for what has brought them may be archived before their own file is proven.
        """
        otherwise = self._brought_otherwise()
        for at, send in enumerate(self.sends):
            if send.shown or not send.witnesses or not send.loads:
                continue
            customers = np.array([w.customer_id for w in send.witnesses], np.int64)
            shared = np.array([w.shared for w in send.witnesses])
            now_shared = np.logical_or.reduce([shared, *(among(customers, others) for others in otherwise)])
            shown = send.proven_at is not None and not now_shared.all()
            if shown or (now_shared != shared).any():
                pairs = zip(send.witnesses, now_shared.tolist(), strict=True)
                witnesses = tuple(replace(witness, shared=it_is) for witness, it_is in pairs)
                self.sends[at] = replace(send, witnesses=witnesses, shown=shown)
                self._note(self.sends[at])

    def _note(self, send: Send) -> None:
        """Write what is shown by a send; the rest of its entry may have changed (a person closes it at any time)."""
        journal = self._world.journal
        for entry in journal.of_file(send.file):
            if entry.attempt == send.attempt and entry.loads:
                journal.put(replace(entry, witnesses=send.witnesses, shown=send.shown))

    def evidence(self) -> Iterator[Evidence]:
        """What the starts that were filed again say, and each send, the better known later."""
        loading = sorted((s for s in self.sends if s.loads), key=lambda s: (s.verified, s.counts_from))
        in_two = _in_several({s.file: self.rows[s.file] for s in loading if s.proven_at is not None})
        refused = self._refused()
        # Who was filed again was there before; but may have left since, and come back with the very start.
        once = np.unique(ids_of(self.filed_again), return_index=True)[1]
        yield Evidence(there=NOTHING, maybe=self.filed_again[once], absent=NOTHING)
        for send in loading:
            rows = self.rows[send.file]
            missing = distinct(self._world.journal.missing(send.file))
            # Until a sample of a file is looked up, it says nothing: a part of it can be lost.
            counts = send.verified or self._is_of_plan(send)  # of those of the plan one will be
            if send.proven_at is not None and counts:
                doubted = among(ids_of(rows), refused)
                if not send.shown:  # it may be lost; who is in another proven file has come by one of the two
                    doubted |= ~among(ids_of(rows), in_two)
                yield Evidence(
                    there=distinct(rows[~among(rows, missing) & ~doubted]),
                    maybe=union(missing, rows[doubted]),
                    absent=ids_of(missing),  # also if an earlier record took them for loaded
                )
            elif send.closed_because is not None:  # by a person: those who were looked for are not there
                witnesses = np.array([w.customer_id for w in send.witnesses], np.int64)
                yield Evidence(there=NOTHING, maybe=distinct(rows), absent=distinct(witnesses))
            else:
                yield Evidence(there=NOTHING, maybe=distinct(rows), absent=NOTHING)

    def with_two_starts(self) -> Ints:
        """The customers who are in two files with two starts, as when a run was overtaken, or planned again.

        Nothing says which of the files was loaded last, nor whether the last one counts.
        """
        files = self.rows | self.coming
        several = _in_several(files)
        customers = ids_of(union(*(rows[among(ids_of(rows), several)] for rows in files.values())))
        return distinct(customers[1:][customers[1:] == customers[:-1]])

    def _brought_otherwise(self) -> list[Ints]:
        """Customers whom more than one file, or something else than a file, can have brought; sets."""
        journal = self._world.journal
        return [
            _in_several(self.rows | self.coming),
            ids_of(self._filed_again),
            *(distinct(ids_of(journal.singles(run)[:, 0])) for run in journal.runs_with("singles")),
        ]

    def _is_of_plan(self, send: Send) -> bool:
        return self.is_planned and send.run == self._world.run.key and send.name not in self._replaced

    def _refused(self) -> Ints:
        """The customers whom the register refused, by a finished file or by one that had nobody else in it.

        A file that got no answer was refused with them, and its witnesses came by another one.
        """
        alone = [self._world.journal.rows(send) for send in self.sends if send.rows == 1 and not send.loads]
        return distinct(ids_of(union(refusals.read(self._world.state)[:, 0], *alone)))


def replaced(world: World) -> list[str]:
    """Names of the sends that are of a plan of this run that it has replaced."""
    names: list[str] = world.place.read_json(REPLACED) if world.place.exists(REPLACED) else []
    return names


def _in_several(files: Mapping[str, Ints]) -> Ints:
    """The customers who are in more than one of the files, sorted."""
    customers = np.sort(np.concatenate([NOTHING, *map(ids_of, files.values())]), kind="stable")
    return distinct(customers[1:][customers[1:] == customers[:-1]])
