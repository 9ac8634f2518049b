def test_a_green_run_leaves_the_register_equal_to_the_warehouse_and_tells_bits_once(bank):
    run = bank.trigger()
    run.go(until="register_arrivals")
    bank.change(bank.churn.leave(2))
    bank.change([*bank.churn.arrive(2), *bank.churn.arrive_back_dated(1)])
    assert run.go() == "success", run.states
    assert bank.is_right
    assert len(bank.d4_mails) == 1
    # A guard would have asked, and the run was told not to: the report has who said so.
    assert run.xcom("approve_changes")[0]["by"] == "kari, by approval=never"
