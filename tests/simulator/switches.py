"""One switch for everything that the contract calls *not documented*."""

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How this register behaves where nobody says how the real one does.

    The first value of each is the default. ValueError on a value that a switch does not have.
    """

    # What a look-up answers when there is no relationship; the two 404s differ in the code's family.
    no_relationship: Literal["empty_banks", "no_banks", "not_found_kfr", "not_found_err"] = "empty_banks"
    # Every look-up's answer also has a bank that is not ours.
    other_bank: bool = False
    # What a DELETE leaves; with `ends_today_inclusive` the relationship is still found for today.
    removal: Literal["ends_yesterday", "ends_today_inclusive", "ends_today_exclusive", "erases"] = (
        "ends_yesterday"
    )
    # What a registration does to a relationship that has ended; a file's row counts as one.
    re_registration: Literal["revives", "new_start", "no_effect", "no_effect_that_day"] = "revives"
    # Whether a file with another date changes the start of a relationship registered by another file.
    second_file: Literal["keeps_start", "changes_start"] = "keeps_start"
    # The same for one that was registered singly (today) before the file's row was loaded.
    file_after_single: Literal["keeps_start", "changes_start"] = "keeps_start"
    # A single registration takes effect at once, or queues behind the files accepted before it.
    single: Literal["at_once", "after_files"] = "at_once"
    file_order: Literal["fifo", "parallel", "newest_first", "shuffled"] = "fifo"
    row_order: Literal["file", "reversed", "shuffled"] = "file"
    # Of several rows of one customer in a file, the one whose date counts; or the file is refused.
    duplicates: Literal["first", "last", "refused"] = "first"
    # Look-ups see the register as it was so many seconds ago.
    look_up_lag: float = 0.0
    # What is measured against 10 MB, and whether that is 10,000,000 or 10 * 2**20 bytes.
    size_limit: Literal["decimal_body", "binary_body", "decimal_file", "binary_file"] = "decimal_body"

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value, choices = getattr(self, name), get_args(hint)
            if choices and value not in choices:
                raise ValueError(f"{name} is one of {', '.join(choices)}, not {value!r}")
        if self.look_up_lag < 0:
            raise ValueError("look_up_lag is a number of seconds, not below 0")
