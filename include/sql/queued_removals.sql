{#
A queue in which the institution's own systems ask for removals, where there is one. As delivered there is none:
this file holds nothing but this comment, and nobody is asked.

One column of text, the identifier; one row for each customer to remove. The request counts as evidence for
customers who have vanished from `agreements.sql` (a number that was replaced by another, say a D-number by a
birth number, or a row deleted by a data steward), who are otherwise never removed. It does not outweigh the
warehouse: a customer whose agreements are active, or begin tomorrow, stays, and the result says so.

For a queue `removals_asked (customer_id text, asked_on date, result text)`:

    SELECT customer_id FROM removals_asked WHERE result IS NULL OR result = 'waits'

When a D-number becomes a birth number, put the D-number here once the birth number is registered: a load does not
know that the two belong together. (It sends additions before removals, but it may not read the birth number, as
one of an interval does not where only its start is old, and the register may refuse it.)
#}
