{#
All agreements of the customers asked for, as they stand now: the ended, the active and the future ones.
Asked just before a relationship is removed from the register, so a row that is missing here can remove a
customer who has not left. No filter on dates: an agreement that starts tomorrow keeps the relationship.

`customer_ids` becomes the placeholders of bound parameters (at most 1,000 a statement); the identifiers
are never written into the SQL. They are text of 9 or 11 digits. Where the placeholder of your driver is
%s, a per cent sign of your own must be doubled (%%).
`trim` as in `changed_agreements.sql`. Columns as in `agreements.sql`.
#}
SELECT customer_id, started_on, ended_on
FROM agreements
WHERE trim(BOTH ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) FROM customer_id) IN ({{ customer_ids }})
