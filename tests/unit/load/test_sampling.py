import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kfr.load.sampling import draw

SEEDS = st.integers(0, 2**256 - 1).map(lambda n: f"{n:064x}")


@given(st.integers(0, 5000), st.integers(1, 400), SEEDS)
def test_a_draw_has_one_row_of_each_equal_block_and_all_where_there_are_no_more(rows, wanted, seed):
    drawn = draw(rows, wanted, seed)
    if wanted >= rows:
        assert drawn.tolist() == list(range(rows))
    else:
        blocks = [(i * rows // wanted, (i + 1) * rows // wanted) for i in range(wanted)]
        assert all(first <= row < beyond for row, (first, beyond) in zip(drawn.tolist(), blocks, strict=True))


@given(st.integers(1, 5000), st.integers(1, 400), SEEDS)
def test_the_same_seed_draws_the_same_rows_again(rows, wanted, seed):
    assert draw(rows, wanted, seed).tolist() == draw(rows, wanted, seed).tolist()


def test_another_seed_draws_other_rows():
    assert draw(100_000, 50, "01" * 32).tolist() != draw(100_000, 50, "02" * 32).tolist()


def test_every_row_of_a_block_has_its_chance():
    """2,995 rows found bound the share that is wrong only if none was safe from being drawn."""
    counts = np.zeros(20)
    for seed in range(2000):
        counts[draw(20, 4, f"{seed:032x}")] += 1
    assert counts.min() > 300  # 400 expected of each
    assert counts.max() < 500
