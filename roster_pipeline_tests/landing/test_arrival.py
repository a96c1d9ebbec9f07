"""When a delivery counts as arrived: never while it may still be growing."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from roster_pipeline.landing.arrival import (
    LOOSE_QUIET_S,
    ZIP_QUIET_S,
    Arrival,
    Content,
    SeenFile,
    WatchedFile,
    decide,
    delivery_of,
    watch,
)

NOW = 1_800_000_000.0
WHOLE = Content("a" * 64)


def seen(name: str, size: int = 100, age: float = 0.0) -> SeenFile:
    return SeenFile(name, size, NOW - age)


def after(*looks: tuple[float, list[SeenFile]], content: Content | None = None) -> Arrival:
    """What a series of looks, each some seconds after NOW, comes to."""
    files: tuple[WatchedFile, ...] = ()
    for at, found in looks:
        files = watch(files, found, NOW + at)
    return decide(files, NOW + looks[-1][0], content)


def test_an_empty_landing_zone_is_empty() -> None:
    assert after((0, [])) == Arrival("empty")
    assert after((0, [seen("readme.txt", age=999)])).state == "empty"


def test_a_zip_is_looked_at_twice_and_left_alone_for_a_minute_before_it_is_read() -> None:
    zipped = [seen("OneRoster.zip")]
    assert after((1, zipped)).why == "OneRoster.zip has just arrived"
    assert after((1, zipped), (20, zipped)).why == "quiet for 20 s of 60 s"
    arrival = after((1, zipped), (ZIP_QUIET_S, zipped))
    assert (arrival.state, arrival.files, arrival.since) == ("settled", ("OneRoster.zip",), NOW)


def test_an_old_file_is_still_looked_at_twice() -> None:
    zipped = [seen("OneRoster.zip", age=9_999)]
    assert after((0, zipped)).why == "OneRoster.zip has just arrived"
    assert after((0, zipped), (1, zipped)).state == "settled"


def test_a_file_that_grew_between_two_looks_is_waited_for() -> None:
    arrival = after((0, [seen("users.csv", 5, 900)]), (30, [seen("users.csv", 9, 900)]))
    assert (arrival.state, arrival.why) == ("waiting", "users.csv is still growing")


def test_loose_files_are_left_alone_for_five_minutes_all_of_them() -> None:
    files = [seen("orgs.csv", age=500), seen("users.csv", age=100)]
    assert after((0, files), (30, files)).why == "quiet for 130 s of 300 s"
    assert after((0, files), (LOOSE_QUIET_S - 100, files)).state == "settled"


def test_what_is_in_it_decides_then() -> None:
    zipped = [seen("OneRoster.zip", age=90)]
    looks = (0.0, zipped), (30.0, zipped)
    broken = Content(None, "OneRoster.zip is not whole yet")
    arrival = after(*looks, content=broken)
    assert (arrival.state, arrival.why) == ("waiting", "OneRoster.zip is not whole yet")
    ready = after(*looks, content=WHOLE)
    assert (ready.state, ready.key) == ("ready", WHOLE.key)


def test_the_zip_is_the_delivery_and_loose_files_beside_it_do_not_matter() -> None:
    files = [seen("OneRoster.zip", age=90), seen("users.csv", age=1)]
    arrival = after((0, files), (30, files))
    assert (arrival.state, arrival.files) == ("settled", ("OneRoster.zip",))


def test_an_upload_that_is_going_on_holds_up_loose_files_but_not_a_zip() -> None:
    for name in ("enrollments.csv.filepart", "x.part", "x.TMP", ".upload-3f2a"):
        loose = [seen("users.csv", age=900), seen(name, age=10)]
        arrival = after((0, loose), (30, loose))
        assert (arrival.state, arrival.why) == ("waiting", "an upload is going on")
        zipped = [seen("OneRoster.zip", age=900), seen(name, age=10)]
        arrival = after((0, zipped), (30, zipped))
        assert arrival.state == "settled" and arrival.uploading


def test_an_upload_that_was_given_up_holds_up_nothing() -> None:
    loose = [seen("users.csv", age=900), seen("enrollments.csv.part", age=900)]
    assert after((0, loose), (30, loose)).state == "settled"


def test_an_unfinished_upload_alone_is_waited_for_and_says_so() -> None:
    going = [seen("OneRoster.zip.filepart", age=5)]
    assert after((0, going), (30, going)).why == "an upload is going on"
    stopped = [seen("OneRoster.zip.filepart", age=900)]
    arrival = after((0, stopped), (30, stopped))
    assert arrival.why == "an upload has ended in the middle (OneRoster.zip.filepart)"
    assert arrival.since == NOW - 900


def test_names_that_are_nearly_right_are_told_and_not_taken() -> None:
    arrival = after((0, [seen("oneroster.zip"), seen("Users.CSV"), seen("orgs.csv")]))
    assert arrival.near == {"oneroster.zip": "OneRoster.zip", "Users.CSV": "users.csv"}
    assert arrival.files == ("orgs.csv",)


def test_another_servers_clock_does_not_count() -> None:
    behind = watch((), [SeenFile("OneRoster.zip", 1, NOW - 9_999)], NOW)
    assert decide(behind, NOW + 30, None, our_clock=False).why == "quiet for 30 s of 60 s"
    ahead = watch((), [SeenFile("OneRoster.zip", 1, NOW + 9_999)], NOW)
    assert decide(ahead, NOW + 60, None, our_clock=False).state == "settled"
    # Nor does our own when it was wrong.
    assert decide(ahead, NOW + 60, None).state == "settled"


FILES = st.dictionaries(
    st.sampled_from(["OneRoster.zip", "users.csv", "orgs.csv", "manifest.csv", "x.part"]),
    st.tuples(st.integers(0, 3), st.floats(NOW - 1000, NOW + 1000)),
    max_size=4,
)


@given(st.lists(st.tuples(st.floats(0.1, 400), FILES), min_size=1, max_size=6), st.booleans())
def test_nothing_is_ready_that_was_not_seen_twice_as_it_is(
    looks: list[tuple[float, dict[str, tuple[int, float]]]], our_clock: bool
) -> None:
    files: tuple[WatchedFile, ...] = ()
    before: tuple[WatchedFile, ...] = ()
    at = NOW
    for pause, found in looks:
        at, before = at + pause, files
        files = watch(files, [SeenFile(n, s, m) for n, (s, m) in found.items()], at)
        arrival = decide(files, at, WHOLE, our_clock=our_clock)
        if arrival.state == "ready":
            assert {(f.name, f.size, f.modified) for f in delivery_of(files)} <= {
                (f.name, f.size, f.modified) for f in before
            }
            quiet = ZIP_QUIET_S if arrival.files == ("OneRoster.zip",) else LOOSE_QUIET_S
            for file in delivery_of(files):
                assert at - file.left_alone(our_clock) >= quiet


@given(st.lists(st.integers(1, 50), min_size=2, max_size=30), st.floats(1, 10_000))
def test_a_file_that_grows_is_never_ready(steps: list[int], pause: float) -> None:
    files: tuple[WatchedFile, ...] = ()
    at, size = NOW, 0
    for step in steps:
        at, size = at + pause, size + step
        files = watch(files, [SeenFile("OneRoster.zip", size, 0.0)], at)
        assert decide(files, at, WHOLE).state == "waiting"
