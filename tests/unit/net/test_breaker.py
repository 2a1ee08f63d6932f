"""A failing host and a failing job are told apart."""

from dicomhaul.net.breaker import DOWN_JOBS, FIRST_CONTACT_ROUNDS, PATIENCE_S, Breaker, Reaction


def lost(breaker: Breaker, now: float, *, took_s: float = 0.0) -> Reaction:
    return breaker.failed(job="a", connected=False, began_at=now - took_s, now=now)


def sick(breaker: Breaker, job: str, now: float) -> Reaction:
    return breaker.failed(job=job, connected=True, began_at=now, now=now)


def reached() -> Breaker:
    breaker = Breaker()
    breaker.answered()
    return breaker


def test_a_host_that_never_answered_is_down_after_four_rounds() -> None:
    breaker = Breaker()
    now, pauses = 0.0, []
    for number in range(1, FIRST_CONTACT_ROUNDS + 1):
        reaction = lost(breaker, now)
        assert reaction.down is (number == FIRST_CONTACT_ROUNDS)
        assert not reaction.counts
        pauses.append(reaction.pause_s)
        now += reaction.pause_s
    assert pauses == [0.5, 1.0, 2.0, 4.0]


def test_connects_that_time_out_end_well_within_half_a_minute() -> None:
    breaker = Breaker()
    first = lost(breaker, 10.0, took_s=10.0)
    assert not first.down
    assert lost(breaker, 20.5, took_s=10.0).down


def test_a_host_that_accepts_and_keeps_silent_is_down_with_its_second_silence() -> None:
    breaker = Breaker()
    assert not breaker.failed(job="a", connected=True, began_at=0.0, now=60.0).down
    assert not breaker.failed(job="b", connected=True, began_at=0.0, now=60.0).down  # the same round
    assert breaker.failed(job="a", connected=True, began_at=60.5, now=120.5).down


def test_a_host_that_accepts_and_hangs_up_at_once_is_down_by_rounds() -> None:
    breaker = Breaker()
    for number in range(1, FIRST_CONTACT_ROUNDS + 1):
        now = number * 4.0
        reaction = breaker.failed(job="a", connected=True, began_at=now, now=now)
        assert reaction.down is (number == FIRST_CONTACT_ROUNDS)


def test_failures_of_one_round_count_once() -> None:
    breaker = Breaker()
    assert lost(breaker, 1.0, took_s=1.0).pause_s == 0.5
    for _ in range(15):
        assert breaker.failed(job="b", connected=False, began_at=0.0, now=1.0) == Reaction(counts=False)


def test_a_lost_host_is_waited_for_and_its_jobs_keep_their_attempts() -> None:
    breaker = reached()
    now, reaction = 0.0, Reaction()
    while not reaction.down:
        assert now <= PATIENCE_S + 30.0
        reaction = lost(breaker, now)
        assert not reaction.counts
        assert reaction.pause_s <= 30.0
        now += reaction.pause_s
    assert now >= PATIENCE_S


def test_an_answer_brings_a_lost_host_back() -> None:
    breaker = reached()
    lost(breaker, 0.0)
    assert breaker.is_open
    breaker.answered()
    assert not breaker.is_open
    assert lost(breaker, PATIENCE_S + 1.0).pause_s == 0.5


def test_one_job_that_always_fails_opens_nothing() -> None:
    breaker = reached()
    for now in range(10_000):
        assert sick(breaker, "poison", float(now)) == Reaction()
    assert not breaker.is_open


def test_a_500_for_one_job_between_successes_opens_nothing() -> None:
    breaker = reached()
    for now in range(10_000):
        assert sick(breaker, f"job {now}", float(now)) == Reaction()
        breaker.succeeded()


def test_three_failing_jobs_open_it_and_use_up_their_attempts() -> None:
    breaker = reached()
    reactions = [sick(breaker, job, 1.0) for job in "abc"]
    assert [reaction.pause_s for reaction in reactions] == [0.0, 0.0, 0.5]
    assert all(reaction.counts and not reaction.down for reaction in reactions)
    assert breaker.is_open


def test_a_sick_host_is_down_only_when_many_jobs_failed_for_long() -> None:
    few = reached()
    many = reached()
    for now in range(0, int(PATIENCE_S) + 20, 10):
        assert not sick(few, f"job {now % (DOWN_JOBS - 1)}", float(now)).down
        down = sick(many, f"job {now}", float(now)).down
        assert down is (now >= PATIENCE_S)


def test_an_answer_does_not_cure_a_sick_host_but_a_success_does() -> None:
    breaker = reached()
    for job in "abc":
        sick(breaker, job, 1.0)
    breaker.answered()
    assert breaker.is_open
    breaker.succeeded()
    assert not breaker.is_open
