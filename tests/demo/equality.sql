-- Does the register equal the warehouse?
--
-- Stands alone: nothing of the package is used, only the rules of the domain. Reads
--   agreements (customer_id text, started_on date, ended_on date)                     the warehouse, as it is now
--   register   (customer_id text, started_on date, ended_on date)                     the register, as it is now
--   the variable as_of                                                                 today in Norway
-- and gives one row: how many customers each has, how they differ, and the answer.

-- Digits times weights, modulo 11, from the left; NULL where the text is not all digits.
CREATE OR REPLACE TEMP MACRO remainder(digits, weights) AS
    list_inner_product(list_transform(string_split(digits, ''), lambda d: try_cast(d AS DOUBLE)), weights)::BIGINT % 11;

-- Is MM of a number a month in which DD is a day? Synthetic numbers have their months moved by 20, 40, 60, 65 or 80.
CREATE OR REPLACE TEMP MACRO has_day(day, month, year) AS len(list_filter([0, 20, 40, 60, 65, 80],
    lambda moved: try_cast(printf('%04d-%02d-%02d', 2000 + year, month - moved, day) AS DATE) IS NOT NULL)) > 0;

CREATE OR REPLACE TEMP MACRO is_identifier(id) AS CASE
    WHEN id = '000000000' THEN false
    WHEN regexp_full_match(id, '[0-9]{9}') THEN remainder(id, [3, 2, 7, 6, 5, 4, 3, 2, 1]) = 0
    WHEN regexp_full_match(id, '[0-9]{11}') THEN
        remainder(id[1:10], [3, 7, 6, 1, 8, 9, 4, 5, 2, 1]) IN (0, 1, 2, 3)       -- 1, 2 and 3: as issued from 2032
        AND remainder(id, [5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]) = 0
        AND has_day(id[1:2]::INT - CASE WHEN id[1] >= '4' THEN 40 ELSE 0 END, id[3:4]::INT, id[5:6]::INT)
    ELSE false END;

WITH
-- Rows that count: begun, with a right identifier, and no end before the start. A start before 1753 is none.
sound AS (
    SELECT
        trim(customer_id) AS customer_id,
        CASE WHEN started_on >= DATE '1753-01-01' THEN started_on END AS started_on,
        coalesce(ended_on, DATE '9999-12-31') AS ended_on
    FROM agreements
    WHERE trim(customer_id) IN (
            SELECT id FROM (SELECT DISTINCT trim(customer_id) AS id FROM agreements) WHERE is_identifier(id))
        AND coalesce(started_on <= getvariable('as_of'), true)
        AND coalesce(ended_on >= started_on OR started_on < DATE '1753-01-01', true)
),
-- An agreement opens a relationship when no earlier one reaches it: each ended at least two days before it.
opening AS (
    SELECT customer_id, max(started_on) AS started_on
    FROM sound AS later
    WHERE started_on IS NOT NULL AND NOT EXISTS (
        FROM sound AS earlier
        WHERE earlier.customer_id = later.customer_id
            AND coalesce(earlier.started_on < later.started_on, true)
            AND earlier.ended_on + 1 >= later.started_on)
    GROUP BY customer_id
),
-- Active today, since the last opening; without one, the oldest start that is known; or not known at all.
wanted AS (
    SELECT customer_id, coalesce(any_value(opening.started_on), min(sound.started_on)) AS started_on
    FROM sound LEFT JOIN opening USING (customer_id)
    GROUP BY customer_id
    HAVING max(sound.ended_on) > getvariable('as_of')
),
held AS (
    SELECT customer_id, started_on FROM register WHERE ended_on IS NULL
),
compared AS (
    SELECT
        count(wanted.customer_id) AS in_the_warehouse,
        count(held.customer_id) AS in_the_register,
        count(*) FILTER (held.customer_id IS NULL) AS missing,
        count(*) FILTER (wanted.customer_id IS NULL) AS left_over,
        count(*) FILTER (wanted.started_on <> held.started_on) AS other_start,
        count(*) FILTER (wanted.customer_id IS NOT NULL AND wanted.started_on IS NULL) AS start_not_known
    FROM wanted FULL JOIN held ON held.customer_id = wanted.customer_id
)
SELECT *, in_the_warehouse > 0 AND missing + left_over + other_start = 0 AS equal
FROM compared;
