from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roster_pipeline.landing.throttle import (
    FORGOTTEN_AFTER,
    FREE_AT_ONCE,
    FREE_TRIES,
    LONGEST_PAUSE,
    MOST_ENTRIES,
    Throttle,
)

ATTACKER, DISTRICT = "203.0.113.9", "198.51.100.7"


def try_wrong(throttle: Throttle, address: str, name: str, now: float) -> float:
    """A wrong password, if it may be tried; otherwise the seconds to wait."""
    wait = throttle.begin(address, name, now)
    if wait == 0:
        throttle.end(address, name, now, right=False)
    return wait


def try_right(throttle: Throttle, address: str, name: str, now: float) -> float:
    wait = throttle.begin(address, name, now)
    if wait == 0:
        throttle.end(address, name, now, right=True)
    return wait


def test_pauses_double_from_the_sixth_try_on_up_to_a_minute() -> None:
    throttle = Throttle()
    now, pauses = 100.0, []
    for _ in range(14):
        wait = throttle.begin(ATTACKER, "springfield", now)
        pauses.append(wait)
        if wait:
            now += wait
            assert throttle.begin(ATTACKER, "springfield", now) == 0
        throttle.end(ATTACKER, "springfield", now, right=False)
    assert pauses == [0] * FREE_TRIES + [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_thousand_wrong_passwords_at_once_are_checked_five_times() -> None:
    throttle = Throttle()
    waits = [try_wrong(throttle, ATTACKER, "springfield", 100.0) for _ in range(1000)]
    assert waits.count(0) == FREE_TRIES
    assert set(waits[FREE_TRIES:]) == {1.0}


def test_asking_in_parallel_gains_nothing() -> None:
    throttle = Throttle()
    admitted = [throttle.begin(ATTACKER, "springfield", 100.0) == 0 for _ in range(100)]
    assert sum(admitted) == FREE_AT_ONCE
    for _ in range(FREE_AT_ONCE):
        throttle.end(ATTACKER, "springfield", 100.1, right=False)
    assert throttle.begin(ATTACKER, "springfield", 100.1) == 32.0
    # Later one at a time is checked.
    assert throttle.begin(ATTACKER, "springfield", 200.0) == 0
    assert throttle.begin(ATTACKER, "springfield", 200.0) == LONGEST_PAUSE


def test_a_client_may_open_ten_connections_at_once_with_the_right_password() -> None:
    throttle = Throttle()
    assert [throttle.begin(DISTRICT, "springfield", 100.0) for _ in range(10)] == [0] * 10
    for _ in range(10):
        throttle.end(DISTRICT, "springfield", 100.1, right=True)
    assert try_right(throttle, DISTRICT, "springfield", 100.1) == 0


def test_who_hangs_up_during_the_check_gains_nothing() -> None:
    throttle = Throttle()
    for _ in range(FREE_TRIES):
        assert throttle.begin(ATTACKER, "springfield", 100.0) == 0
        throttle.end(ATTACKER, "springfield", 100.0, right=False)
    assert throttle.begin(ATTACKER, "springfield", 100.0) > 0


def test_a_name_under_attack_stays_open_to_an_address_that_was_not_wrong() -> None:
    throttle = Throttle()
    for number in range(5000):
        try_wrong(throttle, f"203.0.{number // 250}.{number % 250}", "springfield", number / 10)
    assert try_right(throttle, DISTRICT, "springfield", 500.0) == 0
    # Also for the second connection of the same client.
    assert try_right(throttle, DISTRICT, "springfield", 500.0) == 0


def test_of_many_addresses_that_try_one_name_each_gets_one_try_and_then_one_a_minute() -> None:
    throttle = Throttle()
    addresses = [f"203.0.113.{number}" for number in range(100)]
    for address in addresses:
        assert try_wrong(throttle, address, "springfield", 100.0) == 0
    waits = {throttle.begin(address, "springfield", 100.0) for address in addresses}
    assert waits == {LONGEST_PAUSE}
    # Another name, which nobody attacks, is open to them as before.
    assert try_right(throttle, addresses[0], "shelbyville", 100.0) == 0


def test_after_a_typing_mistake_the_right_password_is_taken_after_a_pause_amid_an_attack() -> None:
    throttle = Throttle()
    for number in range(100):
        try_wrong(throttle, f"203.0.113.{number}", "springfield", 100.0)
    assert try_wrong(throttle, DISTRICT, "springfield", 100.0) == 0
    wait = throttle.begin(DISTRICT, "springfield", 101.0)
    assert 0 < wait <= LONGEST_PAUSE
    for number in range(100):  # the attack goes on meanwhile
        try_wrong(throttle, f"203.0.113.{number}", "springfield", 101.0 + wait)
    assert try_right(throttle, DISTRICT, "springfield", 101.0 + wait) == 0


def test_all_is_forgotten_after_a_quarter_of_an_hour_of_quiet() -> None:
    throttle = Throttle()
    for _ in range(50):
        try_wrong(throttle, ATTACKER, "springfield", 100.0)
    later = 100.0 + FORGOTTEN_AFTER
    waits = [try_wrong(throttle, ATTACKER, "springfield", later) for _ in range(FREE_TRIES + 1)]
    assert waits == [0] * FREE_TRIES + [1.0]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.9", "203.0.113.9", True),
        ("203.0.113.9", "203.0.113.10", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("not an address", "another", False),
    ],
)
def test_an_ipv6_network_counts_as_one_address(one: str, other: str, same: bool) -> None:
    throttle = Throttle()
    for number in range(FREE_TRIES):
        try_wrong(throttle, one, f"name{number}", 100.0)
    assert (throttle.begin(other, "other-name", 100.0) > 0) is same


def test_a_flood_of_names_and_addresses_takes_no_more_room_and_hides_no_attack() -> None:
    throttle = Throttle(most_entries=100)
    for number in range(20):
        try_wrong(throttle, ATTACKER, "springfield", 100.0 + 60 * number)
    now = 100.0 + 60 * 19 + 1
    for number in range(1000):
        try_wrong(throttle, f"2001:db8:{number:x}::1", f"nobody{number}", now)
        assert len(throttle) <= 100
    assert throttle.begin(ATTACKER, "springfield", now) > 0


def test_by_default_it_keeps_no_more_than_ten_thousand() -> None:
    throttle = Throttle()
    for number in range(MOST_ENTRIES + 50):
        try_wrong(throttle, f"2001:db8:{number:x}::1", "x" * 100_000, 100.0)
    assert len(throttle) <= MOST_ENTRIES


ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"])
NAMES = st.sampled_from(["a1", "b1", "c1"])
STEPS = st.lists(
    st.tuples(ADDRESSES, NAMES, st.floats(0, 30), st.booleans()), min_size=1, max_size=80
)


@given(STEPS)
def test_whatever_happens_who_is_quiet_for_the_longest_pause_is_admitted(
    steps: list[tuple[str, str, float, bool]],
) -> None:
    throttle, now = Throttle(), 0.0
    for address, name, seconds, right in steps:
        now += seconds
        wait = throttle.begin(address, name, now)
        assert 0 <= wait <= LONGEST_PAUSE
        if wait == 0:
            throttle.end(address, name, now, right=right)
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.3"):
        for name in ("a1", "b1", "c1", "d1"):
            assert try_right(throttle, address, name, now + LONGEST_PAUSE) == 0
    assert try_right(throttle, "192.0.2.4", "a1", now) == 0


@given(STEPS)
def test_whatever_happens_an_address_has_few_wrong_passwords_checked(
    steps: list[tuple[str, str, float, bool]],
) -> None:
    throttle, now = Throttle(), 0.0
    checked = dict.fromkeys(("192.0.2.1", "192.0.2.2", "2001:db8::1"), 0)
    for address, name, seconds, _ in steps:
        now += seconds
        checked[address] += try_wrong(throttle, address, name, now) == 0
    # Pauses of 1, 2, 4 … 32 s and then 60 s each follow the free tries.
    most = FREE_TRIES + 7 + now / LONGEST_PAUSE
    most += FREE_TRIES * (now // FORGOTTEN_AFTER)
    assert all(times <= most for times in checked.values())


@given(STEPS)
def test_a_refused_try_changes_nothing(steps: list[tuple[str, str, float, bool]]) -> None:
    plain, asked_often, now = Throttle(), Throttle(), 0.0
    for address, name, seconds, right in steps:
        now += seconds
        wait = plain.begin(address, name, now)
        for _ in range(3 if wait else 1):
            assert asked_often.begin(address, name, now) == wait
        if wait == 0:
            for throttle in (plain, asked_often):
                throttle.end(address, name, now, right=right)
