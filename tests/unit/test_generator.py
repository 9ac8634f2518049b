"""The generated warehouse is as messy as promised, and the truth beside it is one."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from kfr.relationships import packing
from kfr.relationships.agreements import fold, read_agreements
from tests.simulator.identifiers import is_identifier
from tests.warehouse.churn import ChangeKind, Churn
from tests.warehouse.flaws import REASONS
from tests.warehouse.generator import Generated, generate
from tests.warehouse.loading import into_duckdb
from tests.warehouse.patterns import ACTIVE, NOT_ACTIVE
from tests.warehouse.truth import Truth, truth_of

DAY = date(2026, 3, 1)
SCHEMA = pa.schema({"customer_id": pa.string(), "started_on": pa.date32(), "ended_on": pa.date32()})

# Synthetic numbers, worked out by hand: 01.01.88 with month + 80, + 40 and + 65; a test organisation.
ONE, TWO, THREE, ORGANISATION = "01818800149", "01418800166", "01668800102", "312345676"


@pytest.fixture(scope="module")
def generated() -> Generated:
    return generate(10_000, seed=3, as_of=DAY)


def table(*rows: tuple[str | None, str | None, str | None]) -> pa.Table:
    days = [(text, *(date.fromisoformat(day) if day else None for day in dates)) for text, *dates in rows]
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in days], schema=SCHEMA)


def registered(truth: Truth) -> dict[str, date | None]:
    return dict(zip(*(column.to_pylist() for column in truth.register.columns), strict=True))


# --- the truth ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agreements", "start"),
    [
        ([("2020-01-01", None)], "2020-01-01"),
        ([("2020-01-01", "2026-03-02")], "2020-01-01"),  # ends tomorrow
        ([("2020-01-01", "9999-12-31")], "2020-01-01"),
        ([("2026-03-01", None)], "2026-03-01"),  # starts today
        ([("2020-01-01", None), ("2021-01-01", "2022-01-01")], "2020-01-01"),
        ([("2021-01-01", None), ("2020-01-01", "2021-06-01")], "2020-01-01"),  # overlap
        ([("2021-01-01", None), ("2020-01-01", "2021-01-01")], "2020-01-01"),  # the same day
        ([("2021-01-01", None), ("2020-01-01", "2020-12-31")], "2020-01-01"),  # the next day
        ([("2021-01-01", None), ("2020-01-01", "2020-12-30")], "2021-01-01"),  # a gap of one day
        ([("2010-01-01", "2020-01-01"), ("2011-01-01", "2012-01-01"), ("2019-01-01", None)], "2010-01-01"),
        ([("2020-01-01", None), ("2020-01-01", None)], "2020-01-01"),
        ([(None, None)], None),
        ([(None, "2021-01-01"), ("2020-06-01", None)], "2020-06-01"),
        ([(None, "2019-01-01"), ("2020-06-01", None)], "2020-06-01"),
        ([("1700-01-01", None)], None),
        ([("2020-01-01", None), ("2027-01-01", None)], "2020-01-01"),
        ([("2020-01-01", None), ("2021-01-01", "2020-01-01")], "2020-01-01"),  # the second is refused
    ],
)
def test_an_active_customer_has_the_start_of_the_chain(agreements: list[tuple[str, str]], start: str | None):
    truth = truth_of(table(*((ONE, *agreement) for agreement in agreements)), DAY)
    assert registered(truth) == {ONE: date.fromisoformat(start) if start else None}
    assert len(truth.ended) == 0


@pytest.mark.parametrize(
    "agreements",
    [
        [("2020-01-01", "2021-01-01")],
        [("2020-01-01", "2026-03-01")],  # ended today
        [("2020-01-01", "2020-01-01")],
        [(None, "2021-01-01")],
        [("2020-01-01", "2026-03-01"), ("2026-03-02", None)],  # goes on tomorrow
    ],
)
def test_a_customer_without_an_active_agreement_has_ended(agreements: list[tuple[str, str]]):
    truth = truth_of(table(*((ONE, *agreement) for agreement in agreements)), DAY)
    assert registered(truth) == {}
    assert truth.ended.to_pylist() == [ONE]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "missing"),
        (" \t ", "missing"),
        ("018188 00149", "not_digits"),
        ("0181880014٩", "not_digits"),
        ("1818800149", "wrong_length"),
        ("01818800148", "check_digit"),
        ("000000000", "check_digit"),
        ("30828800112", "impossible_date"),
    ],
)
def test_a_bad_identifier_is_refused_for_its_reason(text: str | None, reason: str):
    truth = truth_of(table((text, "2020-01-01", None), (f"  {TWO} ", "2020-01-01", None)), DAY)
    assert truth.rejected == {reason: 1}
    assert registered(truth) == {TWO: date(2020, 1, 1)}
    assert len(truth.tainted) == 0


def test_only_a_right_identifier_with_a_refused_row_taints():
    truth = truth_of(table((ORGANISATION, "2021-01-01", "2020-01-01"), (THREE, "2020-01-01", None)), DAY)
    assert truth.rejected == {"ended_before_started": 1}
    assert truth.tainted.to_pylist() == [ORGANISATION]
    assert registered(truth) == {THREE: date(2020, 1, 1)}
    assert truth.rows == 2


def test_the_truth_says_what_a_slow_and_plain_reading_says(generated: Generated):
    seen: dict[str, list[tuple[date, date]]] = {}
    known: dict[str, list[date]] = {}
    for row in generated.agreements.to_pylist():
        text, start = (row["customer_id"] or "").strip(), row["started_on"]
        start = None if start and start < date(1753, 1, 1) else start
        end = row["ended_on"] or date.max
        if is_identifier(text) and (start or DAY) <= DAY and (start is None or start <= end):
            seen.setdefault(text, []).append((start or date.min, end))
            known.setdefault(text, []).extend([start] if start else [])

    expected, ended = {}, []
    for text, agreements in seen.items():
        if not any(start <= DAY < end for start, end in agreements):
            ended.append(text)
            continue
        chain = next(start for start, end in agreements if start <= DAY < end)
        while earlier := [
            s for s, e in agreements if s < chain <= min(e, date(9999, 1, 1)) + timedelta(days=1)
        ]:
            chain = min(earlier)
        expected[text] = min((start for start in known[text] if start >= chain), default=None)

    assert registered(generated.truth) == expected
    assert generated.truth.ended.to_pylist() == sorted(ended)


def test_the_simulator_takes_the_identifiers_that_the_truth_takes(generated: Generated):
    good = set(generated.truth.register["customer_id"].to_pylist() + generated.truth.ended.to_pylist())
    texts = {(text or "").strip() for text in generated.agreements["customer_id"].to_pylist()}
    taken = {text for text in texts if is_identifier(text)}
    assert good <= taken
    assert len(texts - taken) >= len(REASONS)


def test_the_package_folds_to_the_same_truth(generated: Generated):
    starts = generated.agreements["started_on"]
    read = generated.agreements.filter(pc.or_kleene(pc.less_equal(starts, DAY), pc.is_null(starts)))
    folded = fold(read_agreements(read), packing.day_number(DAY))

    ids, days = packing.ids_of(folded.active).tolist(), packing.starts_of(folded.active).tolist()
    active = {packing.text_of(i): packing.date_of(day) for i, day in zip(ids, days, strict=True)}
    assert active == registered(generated.truth)
    assert {packing.text_of(i) for i in folded.tainted.tolist()} == set(generated.truth.tainted.to_pylist())
    assert {reason: n for reason, n in folded.rejected_by_reason.items() if n} == generated.truth.rejected
    assert folded.rows == generated.truth.rows


# --- the mess -----------------------------------------------------------------------------------


@pytest.mark.parametrize("relationships", [1, 30, 1_000, 20_000])
def test_the_register_must_hold_exactly_as_many_as_asked_for(relationships: int):
    assert len(generate(relationships, seed=1, as_of=DAY).truth.register) == relationships


def test_every_kind_of_mess_is_there_even_in_a_small_warehouse():
    small = generate(500, seed=1, as_of=DAY)
    names = {pattern.__name__ for pattern in (*ACTIVE, *NOT_ACTIVE)} | set(REASONS)
    assert names <= {name for name, count in small.planted.items() if count > 0}


def test_what_was_planted_is_what_is_refused(generated: Generated):
    assert {reason: generated.truth.rejected[reason] for reason in REASONS} == {
        reason: generated.planted[reason] for reason in REASONS
    }


def test_rows_are_messy(generated: Generated):
    rows = [tuple(row.values()) for row in generated.agreements.to_pylist()]
    texts = [text for text, _, _ in rows if text]
    assert generated.agreements.schema.equals(SCHEMA)
    assert max(Counter(rows).values()) > 1  # the same row twice
    assert max(Counter(text.strip() for text in texts).values()) >= 6
    assert {None, ""} <= {text for text, _, _ in rows}
    assert any(text != text.strip() and is_identifier(text.strip()) for text in texts)
    assert any(" " in text.strip() for text in texts)
    assert any(character.isalpha() for text in texts for character in text)
    assert any(text.strip().isdigit() and not text.strip().isascii() for text in texts)
    assert "000000000" in texts
    assert any(start is None for _, start, _ in rows)
    assert any(start and start > DAY for _, start, _ in rows)
    assert any(start and start < date(1753, 1, 1) for _, start, _ in rows)
    assert any(end == date(9999, 12, 31) for _, _, end in rows)
    assert any(start and end and end < start for _, start, end in rows)


def test_all_families_of_numbers_are_there_and_nobody_is_real(generated: Generated):
    texts = generated.truth.register["customer_id"].to_pylist()
    persons = [text for text in texts if len(text) == 11]
    months = Counter(int(text[2:4]) for text in persons)
    assert min(months) > 40  # no month of a real person, nor of an NPID
    assert all(any(low < month <= low + 12 for month in months) for low in (40, 60, 65, 80))
    assert sum(n for month, n in months.items() if month > 80) > 0.9 * len(persons)
    assert any(int(text[:2]) > 40 for text in persons)  # D-numbers
    assert any(
        int(text[:2]) > 40 and int(text[6:9]) >= 600 and int(text[4:6]) >= 40 for text in persons
    )  # extended
    weights = np.array((3, 7, 6, 1, 8, 9, 4, 5, 2, 1))
    remainders = {int(np.dot(weights, [int(digit) for digit in text[:10]])) % 11 for text in persons}
    assert remainders == {0, 1, 2, 3}  # the kind of 2032, too
    organisations = [text for text in texts if len(text) == 9]
    assert {text[0] for text in organisations} == {"2", "3"}
    assert any(text.startswith("0") for text in persons)


def test_the_same_seed_gives_the_same_warehouse_and_another_one_another(generated: Generated):
    assert generate(10_000, seed=3, as_of=DAY).agreements.equals(generated.agreements)
    assert not generate(10_000, seed=4, as_of=DAY).agreements.equals(generated.agreements)


# --- the churn ----------------------------------------------------------------------------------


def test_churn_changes_what_it_says(generated: Generated, tmp_path: Path):
    last = generated.truth.register["customer_id"].to_pylist()[-100:]
    churn = Churn(generated, seed=5, today=DAY)
    left = churn.leave(20, among=last) + churn.leave(40)
    came = churn.arrive(15) + churn.arrive_back_dated(10)
    back = churn.come_back(5) + churn.come_back(3, among=[change.customer_id for change in left])
    changes = [*left, *came, *back]

    into_duckdb(generated.agreements, tmp_path / "warehouse.duckdb")
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as database:
        for change in changes:
            database.execute(change.statement)
        after = truth_of(database.sql("FROM agreements").to_arrow_table(), DAY)

    before, now = registered(generated.truth), registered(after)
    gone = {change.customer_id for change in left} - {change.customer_id for change in back}
    assert set(before) - set(now) == gone
    assert set(now) - set(before) == {c.customer_id for c in (*came, *back)} - set(before)
    assert gone <= set(after.ended.to_pylist())
    assert {now[c.customer_id] for c in came if c.kind is ChangeKind.ARRIVES} == {DAY}
    assert all(now[c.customer_id] < DAY for c in came if c.kind is ChangeKind.ARRIVES_BACK_DATED)
    assert len({change.customer_id for change in left[:20]} & set(last)) == 20


def test_churn_is_the_same_for_a_seed_and_chooses_nobody_twice(generated: Generated):
    def changes(seed: int) -> list[str]:
        churn = Churn(generated, seed, DAY)
        return [change.customer_id for _ in range(3) for change in churn.leave(50) + churn.arrive(50)]

    assert changes(1) == changes(1) != changes(2)
    assert len(set(changes(1))) == 300


def test_churn_cannot_choose_more_than_there_are(generated: Generated):
    with pytest.raises(ValueError, match="only 0 customers of 1"):
        Churn(generated, 1, DAY).leave(1, among=generated.truth.tainted.to_pylist())
