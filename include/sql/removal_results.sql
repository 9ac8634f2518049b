{#
Tells the queue of `queued_removals.sql` what became of a request. As delivered it says nothing. Run once for
each customer with two bound parameters, which must stand in this order: `result`, then `customer_id`.

    UPDATE removals_asked SET result = {{ '{{ result }}' }} WHERE customer_id = {{ '{{ customer_id }}' }}

`result` is one of
  removed        the register answered that the relationship is ended, now or to an earlier load
  customer       the warehouse says that this is a customer: not removed
  not_ours       not registered by us, and looked up in the register in vain: nothing to remove
  waits          not yet: a row of this customer is refused, or a person has to look first; or, after `removed`,
                 that a look-up still found them, so that they are to be asked for again
  not_valid      not an identifier
#}
