{#
Every agreement that began by `as_of`, the ended ones too. This is what the register is to hold, so it is
the most important file to get right. Edit it for your warehouse; keep the three columns and their names.

  customer_id  text: 9 digits (organisation) or 11 (birth or D-number), leading zeros kept. Never a number.
               Blanks around it are trimmed; anything else that is not right is refused and reported.
  started_on   date (or timestamp at 00:00 without zone): the first day, as a calendar date in Norway.
               Null when it is not known: the relationship is registered without a date, and reported.
  ended_on     date, or null: the first day on which it no longer holds. If your warehouse keeps the *last*
               day instead, add one here. 9999-12-31 counts as null.

What belongs in it
  - The part of the business that is outside NICS, and all of that part. What NICS reports is not yours to report.
  - One row per agreement and owner: a joint account is one row for each of its owners, under each owner's
    own identifier.
  - Everyone. Never leave out the deceased, D-numbers, or people with a protected address: the register is
    told of the relationship, not of the address.
  - The ended ones too. They are not sent, but they tell an ended customer from one that has disappeared,
    and the start of a relationship that went on from one agreement to the next.
  - Do not clean up here: no DISTINCT, no filter on "valid" identifiers. Each row gets a fate in the report,
    and a filter would hide what the data stewards must repair.

`count_agreements.sql` must count exactly these rows: change both together. One SELECT; comments in
brackets like these, so that the database is not asked to read them.
#}
SELECT customer_id, started_on, ended_on
FROM agreements
WHERE started_on <= DATE '{{ as_of }}' OR started_on IS NULL
