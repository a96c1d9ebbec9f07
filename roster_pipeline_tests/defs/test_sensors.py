"""The sensor of the landing zones: what it asks for, what it waits for, what it tells."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import select, update

from roster_pipeline.defs.landing import time_box
from roster_pipeline.defs.resources import HouseResource
from roster_pipeline.defs.sensors import (
    LandingZoneError,
    landing_zone_sensor,
    partition_changes,
    rotated,
)
from roster_pipeline.landing import client, survey
from roster_pipeline.landing.arrival import is_what_was_seen
from roster_pipeline.settings import load_settings
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.tables import landing_zones, outbox
from roster_pipeline_tests.defs.watching import (
    aged,
    asked,
    content_of,
    district,
    imported,
    run_of,
    tick,
    uploaded,
    warehouse,
)

ALERTS = {"notifications": {"alerts": ["it@oak.example"]}}


@pytest.fixture
def instance(home: Path, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def mails() -> list[tuple[str, str]]:
    """Kind and text of what was told."""
    with reading(warehouse()) as conn:
        rows = conn.execute(select(outbox.c.kind, outbox.c.text).order_by(outbox.c.id))
        return [(kind, text) for kind, text in rows]


def test_a_whole_delivery_is_asked_for_at_the_second_look(instance: dg.DagsterInstance) -> None:
    district("oak")
    uploaded("oak")
    first = tick(instance)
    assert asked(first) == {}
    assert "oak: OneRoster.zip has just arrived." in str(first.skip_reason)

    request = asked(tick(instance))["oak"]

    assert request.tags == {"roster/trigger": "on_arrival"}
    config = request.run_config["ops"]["landing_snapshot"]["config"]
    assert (config["app"], len(config["content"])) == ("sftp", 64)
    # Until it runs, it is one and the same request, which Dagster runs once.
    assert asked(tick(instance))["oak"].run_key == request.run_key


def test_the_same_bytes_again_are_no_news_and_others_are(instance: dg.DagsterInstance) -> None:
    district("oak")
    uploaded("oak")
    tick(instance)
    imported("oak", content_of(asked(tick(instance))["oak"]))

    uploaded("oak", age=70)  # the same bytes, a new time
    tick(instance)
    assert asked(tick(instance)) == {}

    uploaded("oak", mark="\n")
    tick(instance)
    assert "oak" in asked(tick(instance))


def test_a_delivery_that_comes_back_after_another_is_imported_again(
    instance: dg.DagsterInstance,
) -> None:
    district("oak")
    keys = []
    for mark in ("", "\n", ""):
        uploaded("oak", mark)
        tick(instance)
        request = asked(tick(instance))["oak"]
        keys.append(request.run_key)
        imported("oak", content_of(request))
    assert len(set(keys)) == 3


def test_the_same_bytes_count_again_when_an_upload_has_been_imported_in_between(
    instance: dg.DagsterInstance,
) -> None:
    district("oak")
    uploaded("oak")
    tick(instance)
    imported("oak", content_of(asked(tick(instance))["oak"]))
    imported("oak", None, app="csv_upload")
    tick(instance)
    assert asked(tick(instance)) == {}  # it lies there as before

    # Its time is our clock's, so it must be later than the upload; it is looked at a minute on.
    path = uploaded("oak", age=0)
    tick(instance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("roster_pipeline.landing.arrival.ZIP_QUIET_S", 0)
        assert "oak" in asked(tick(instance))
    assert path.exists()


@pytest.mark.parametrize("status", ["refused", "held", "failed", "rejected"])
def test_what_came_to_nothing_is_not_tried_again_until_it_changes(
    instance: dg.DagsterInstance, status: ledger.Status
) -> None:
    district("oak")
    uploaded("oak")
    tick(instance)
    imported("oak", content_of(asked(tick(instance))["oak"]), status)
    for _ in range(2):
        assert asked(tick(instance)) == {}


def test_an_upload_that_was_broken_off_is_waited_for_and_told_after_an_hour(
    instance: dg.DagsterInstance,
) -> None:
    district("oak", **ALERTS)
    path = uploaded("oak")
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    aged(path, 1200)
    for _ in range(3):
        result = tick(instance)
    assert asked(result) == {}
    assert "oak: OneRoster.zip is not whole yet." in str(result.skip_reason)
    assert mails() == []

    aged(path, 3700)
    for _ in range(4):
        tick(instance)
    ((kind, text),) = mails()
    assert kind == "unfinished" and "OneRoster.zip is not whole yet." in text

    path.write_bytes(whole)
    aged(path, 60)
    tick(instance)
    assert "oak" in asked(tick(instance))


def test_a_district_with_a_run_that_has_not_ended_waits(instance: dg.DagsterInstance) -> None:
    district("oak")
    uploaded("oak")
    run = run_of(instance, "oak")
    tick(instance)
    assert asked(tick(instance)) == {}
    instance.delete_run(run.run_id)
    assert "oak" in asked(tick(instance))


def test_only_districts_whose_sftp_app_is_triggered_on_arrival_are_imported(
    instance: dg.DagsterInstance,
) -> None:
    for name, trigger in (("oak", ["schedule"]), ("elm", []), ("ash", ["on_arrival"])):
        district(name, trigger=trigger)
        uploaded(name)
    (load_settings().districts / "yew.yaml").write_text("name: Yew\napps: {csv_upload: {}}\n")
    uploaded("yew")
    tick(instance)
    assert set(asked(tick(instance))) == {"ash"}


def test_a_new_district_is_a_partition_in_the_same_tick(instance: dg.DagsterInstance) -> None:
    district("oak")
    uploaded("oak")
    result = tick(instance)
    ((request,),) = (result.dynamic_partitions_requests,)
    assert isinstance(request, dg.AddDynamicPartitionsRequest)
    assert (request.partitions_def_name, list(request.partition_keys)) == ("district", ["oak"])


def test_dagster_accepts_runs_for_partitions_that_are_new(instance: dg.DagsterInstance) -> None:
    from roster_pipeline.definitions import defs

    for name in ("oak", "elm"):
        district(name)
        uploaded(name)
    tick(instance)
    context = dg.SensorEvaluationContext(
        instance_ref=instance.get_ref(),
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=None,
        repository_name=None,
        repository_def=defs.get_repository_def(),
        resources={"house": HouseResource()},
    )
    with context:
        data = landing_zone_sensor.evaluate_tick(context)
    assert {r.tags["dagster/partition"] for r in data.run_requests or ()} == {"oak", "elm"}


def test_a_removed_districts_partition_goes_unless_it_has_a_run_in_flight() -> None:
    assert partition_changes(["oak", "elm"], ["elm", "ash", "yew"], {"yew"}) == (["oak"], ["ash"])
    assert partition_changes([], ["elm", "ash"], {}) == ([], [])


def test_a_district_that_is_imported_by_hand_or_whose_file_has_mistakes_stays_a_partition(
    instance: dg.DagsterInstance,
) -> None:
    district("oak", trigger=[])
    district("ash")
    for name, text in (("elm", "nam: Elm"), ("yew", "name: Yew\napps: {csv_upload: {}}")):
        (load_settings().districts / f"{name}.yaml").write_text(text)
    instance.add_dynamic_partitions("district", ["oak", "elm", "yew", "ash", "gone"])
    (request,) = tick(instance).dynamic_partitions_requests or ()
    assert isinstance(request, dg.DeleteDynamicPartitionsRequest)
    assert list(request.partition_keys) == ["gone"]


def test_a_districts_file_with_mistakes_is_told_and_the_others_go_on(
    instance: dg.DagsterInstance,
) -> None:
    district("oak")
    uploaded("oak")
    (load_settings().districts / "elm.yaml").write_text("nam: Elm\n")
    result = tick(instance)
    assert "elm: its file has mistakes (roster district check)." in str(result.skip_reason)
    assert set(asked(tick(instance))) == {"oak"}


def test_a_near_miss_and_a_header_without_records_are_told_once(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roster_pipeline.landing.concerns.ZIP_QUIET_S", 0)
    district("oak", **ALERTS)
    uploaded("oak", name="oneroster (1).zip")
    for name in ("users", "orgs"):
        path = load_settings().landing / "oak" / f"{name}.csv"
        path.write_text("sourcedId,status\n")
        aged(path, 400)
    for _ in range(4):
        tick(instance)
    told = dict(mails())
    assert set(told) == {"near_miss", "header_only"} and len(mails()) == 2
    assert "oneroster (1).zip is not taken: it must be named OneRoster.zip." in told["near_miss"]
    assert "Without a record: orgs.csv, users.csv." in told["header_only"]


def test_a_district_that_has_fallen_silent_is_told_once(instance: dg.DagsterInstance) -> None:
    district("oak", **ALERTS)
    uploaded("oak", age=8 * 86_400)
    district("elm", **ALERTS)  # never delivered
    for _ in range(3):
        tick(instance)
    assert [kind for kind, _ in mails()] == ["silent"]


def test_a_landing_zone_that_cannot_be_read_is_not_empty(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    district("oak")
    uploaded("oak")
    tick(instance)

    def unreadable(folder: Path) -> list[object]:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(survey, "look_into", unreadable)
        result = tick(instance)
    assert asked(result) == {}
    assert "oak: The landing zone cannot be read: Permission denied." in str(result.skip_reason)
    assert "oak" in asked(tick(instance))


FOREIGN = {
    "server": {
        "host": "sftp.elm.example",
        "username": "roster",
        "password_env": "ELM",
        "host_key": f"SHA256:{'A' * 43}",
    }
}


def refusing(monkeypatch: pytest.MonkeyPatch, error: client.RemoteError) -> None:
    """Let every server of a district's own answer with an error."""

    def connect(endpoint: object) -> object:
        raise error

    monkeypatch.setenv("ELM", "secret")
    monkeypatch.setattr(client, "connect", connect)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (client.LoginRefused("It refuses us."), "login_refused"),
        (client.HostKeyChanged("It is another."), "host_key_changed"),
    ],
)
def test_a_refused_login_or_another_host_key_is_raised_and_told_when_the_others_had_their_turn(
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    error: client.RemoteError,
    kind: str,
) -> None:
    refusing(monkeypatch, error)
    district("elm", sftp=FOREIGN, **ALERTS)
    district("oak")
    instance.add_dynamic_partitions("district", ["elm", "oak"])
    uploaded("oak")

    with pytest.raises(LandingZoneError, match=f"elm: {error}"):
        tick(instance)

    assert [told for told, _ in mails()] == [kind]
    # What was seen is kept, and the server is left in peace for a while.
    result = tick(instance)
    assert set(asked(result)) == {"oak"}
    assert [told for told, _ in mails()] == [kind]


def test_an_error_of_one_district_does_not_cost_another_its_run(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    district("oak")
    uploaded("oak")
    tick(instance)
    refusing(monkeypatch, client.LoginRefused("It refuses us."))
    district("elm", sftp=FOREIGN)
    assert set(asked(tick(instance))) == {"oak"}


def test_an_unreachable_server_is_skipped_and_told_when_it_lasts(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, client.Unreachable("It did not answer."))
    district("elm", sftp=FOREIGN, **ALERTS)
    assert "elm: It did not answer." in str(tick(instance).skip_reason)
    assert mails() == []
    with warehouse().begin() as conn:
        conn.execute(
            update(landing_zones).values(trouble_since=datetime.now(UTC) - timedelta(hours=2))
        )
    for _ in range(2):
        tick(instance)
    assert [kind for kind, _ in mails()] == ["unreachable"]


def test_a_look_goes_on_where_the_time_ran_out_and_every_district_gets_its_turn(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"district-{n}" for n in range(5)]
    for name in names:
        district(name)
        uploaded(name)
    tick(instance)
    reads: list[str] = []
    real = survey.examine

    def read(folder: Path, *args: object, **more: object) -> object:
        reads.append(folder.name)
        return real(folder, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(survey, "examine", read)
    cursor, seen = None, set[str]()
    for _ in range(3):
        reads.clear()
        # Time for two deliveries.
        monkeypatch.setattr(
            "roster_pipeline.defs.sensors.time_box",
            lambda: lambda: 30.0 if len(reads) < 2 else (0.0 if reads[2:] else 6.0),
        )
        result = tick(instance, cursor)
        seen |= set(asked(result))
        cursor = result.cursor
    assert seen == set(names)
    assert rotated(names, "district-3") == [*names[3:], *names[:3]]


def test_what_takes_longer_to_read_than_a_whole_look_is_left_to_the_import(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    district("oak")
    uploaded("oak")
    tick(instance)
    left = iter([30.0, 30.0])
    monkeypatch.setattr("roster_pipeline.defs.sensors.time_box", lambda: lambda: next(left, 0.0))
    content = content_of(asked(tick(instance))["oak"])
    assert content.startswith("unread-")
    assert is_what_was_seen("whatever the import finds", content)
    imported("oak", content, "refused")
    assert asked(tick(instance)) == {}


def test_a_hundred_landing_zones_are_looked_at_within_a_fifth_of_the_time_box(
    instance: dg.DagsterInstance,
) -> None:
    for n in range(100):
        district(f"district-{n}")
        uploaded(f"district-{n}")
    started = time.monotonic()
    tick(instance)
    looked = time.monotonic() - started
    result = tick(instance)
    read = time.monotonic() - started - looked
    assert len(asked(result)) == 100 and result.cursor == ""
    started = time.monotonic()
    tick(instance)
    again = time.monotonic() - started
    print(f"100 districts: first look {looked:.2f} s, reading {read:.2f} s, then {again:.2f} s")
    assert max(looked, read, again) < time_box()() / 5
