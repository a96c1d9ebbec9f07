"""A store of any kind shows a thing whole or not at all, and says what is wrong with it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from roster_pipeline.landing.store import Disk, Store, StoreError, store_at

PATH = "oak/shelf/thing"


@pytest.fixture(params=["disk", "s3", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Also in the memory of this process, which fsspec does by code that it shares with what is no
    object store."""
    if request.param == "disk":
        return store_at(str(tmp_path / "store"))
    bucket = f"memory://{tmp_path}"
    return store_at(request.getfixturevalue("bucket_url") if request.param == "s3" else bucket)


def put(store: Store, path: str, **files: str) -> None:
    with store.arriving(path.rpartition("/")[0]) as arriving:
        for name, text in files.items():
            (arriving / name).write_text(text)
        store.put(arriving, path)


def held(store: Store, path: str, *names: str) -> dict[str, str]:
    with store.open(path, *names) as folder:
        return {file.name: file.read_text() for file in folder.iterdir()}


def test_a_thing_is_replaced_as_a_whole(store: Store) -> None:
    assert store.stamp(PATH) is None
    put(store, PATH, a="1", b="2")
    first = store.stamp(PATH)
    assert store.has(PATH) and store.stamp(PATH) == first
    put(store, PATH, a="3")
    assert held(store, PATH) == {"a": "3"}
    assert store.stamp(PATH) != first
    assert [(thing.path, thing.files) for thing in store.things("oak/shelf")] == [(PATH, 1)]


def test_what_ends_before_it_is_put_is_not_there(store: Store) -> None:
    put(store, PATH, a="1")
    with store.arriving("oak/shelf") as arriving:
        (arriving / "a").write_text("2")
    assert not arriving.exists()
    assert held(store, PATH) == {"a": "1"}
    assert [thing.path for thing in store.things("oak/shelf")] == [PATH]


def test_a_mark_is_no_thing_and_goes_with_what_it_marks(store: Store) -> None:
    put(store, PATH, a="1")
    assert not store.is_marked(PATH)
    store.mark(PATH)
    assert store.is_marked(PATH)
    assert [thing.path for thing in store.things("oak/shelf")] == [PATH]
    store.remove(PATH)
    assert not store.has(PATH) and not store.is_marked(PATH)
    assert store.things("oak/shelf") == []


def test_what_is_under_one_name_is_cleared_alone(store: Store) -> None:
    assert store.districts() == [] and store.things("oak/shelf") == []
    for path in (PATH, "oak/other/thing", "elm/shelf/thing"):
        put(store, path, a="1")
    assert store.districts() == ["elm", "oak"]
    for _ in range(2):
        store.clear("oak")
    assert store.districts() == ["elm"] and store.has("elm/shelf/thing")


def test_a_file_can_be_read_without_the_larger_ones(store: Store, bucket_url: str) -> None:
    put(store, PATH, large="l" * 1000, small="s", middle="m" * 10)
    assert held(store, PATH, "small")["small"] == "s"
    if not isinstance(store, Disk) and store.address("").startswith("s3:"):
        from s3fs import S3FileSystem

        with S3FileSystem().open(store.address(PATH)) as stream:
            assert zipfile.ZipFile(stream).namelist() == ["large", "middle", "small"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://nobody-made-this-bucket/x", "The specified bucket does not exist"),
        ("gs://x/y", "gcsfs"),
        ("zzz://x", "Protocol not known: zzz"),
    ],
    ids=lambda text: text.partition(":")[0],
)
def test_a_store_that_cannot_be_used_is_named_with_the_reason(
    bucket_url: str, url: str, why: str
) -> None:
    with pytest.raises(StoreError, match=why) as error:
        put(store_at(url), PATH, a="1")
    assert str(error.value).startswith(f"{url}: ")


def test_a_login_that_is_refused_is_not_taken_for_a_thing_that_is_not_there(
    bucket_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    async def refused(*_: object, **__: object) -> None:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(S3FileSystem, "_call_s3", refused)
    with pytest.raises(StoreError, match="PermissionError: Forbidden"):
        store_at(bucket_url).has(PATH)
