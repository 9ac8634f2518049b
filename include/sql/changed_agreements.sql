{#
All agreements of every customer of whom any agreement started, ended or was recorded from `from_date` to
`to_date`, both days included. Used by backfills and by the periodic load with the scope `interval`.

All of that customer's agreements, not only the changed ones: whether a customer has ended, and since when
one is a customer, can only be told from all of them. Columns and rows otherwise as in `agreements.sql`.

The table as delivered does not know when a row was recorded, so an agreement that is entered late (today,
with a start last year) or corrected is first found by a load for everyone. If your warehouse has such a
column, say `recorded_on date`, add to the inner WHERE:

    OR recorded_on BETWEEN DATE '{{ from_date }}' AND DATE '{{ to_date }}'

For a timestamp with a time of day, compare `CAST(recorded_at AS date)`, in Norwegian time.
`trim` is there because the same identifier may stand with blanks around it in one row and without in
another: spaces, tabs and line ends, the same that the extract does not count. A row that is not found for
them could end a customer who has not left. Leave it out where that cannot happen, and an index on
`customer_id` can be used. Where your database has no `chr`, it has `char`.
#}
SELECT customer_id, started_on, ended_on
FROM agreements
WHERE trim(BOTH ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) FROM customer_id) IN (
    SELECT trim(BOTH ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) FROM customer_id)
    FROM agreements
    WHERE started_on BETWEEN DATE '{{ from_date }}' AND DATE '{{ to_date }}'
       OR ended_on BETWEEN DATE '{{ from_date }}' AND DATE '{{ to_date }}'
)
