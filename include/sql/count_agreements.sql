{#
How many rows `agreements.sql` gives for the same `as_of`, asked in the same snapshot: one row, one number.
A load whose rows do not add up to it fails, so FROM and WHERE must be the same as there. Count in the
database, as here; a number worked out elsewhere proves nothing.
#}
SELECT count(*) AS agreements
FROM agreements
WHERE started_on <= DATE '{{ as_of }}' OR started_on IS NULL
