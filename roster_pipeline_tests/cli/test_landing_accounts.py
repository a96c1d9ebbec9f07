"""`roster landing account` and `roster landing test`, the latter against running servers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest
from typer.testing import CliRunner

from roster_pipeline.landing import server
from roster_pipeline.landing.accounts import account_of, verify_password
from roster_pipeline.settings import load_settings
from roster_pipeline.warehouse import audit
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline_tests.conftest import Roster, Said
from roster_pipeline_tests.landing.test_client import HOST_KEYS, PASSWORD, USER_KEY, line, serving


@pytest.fixture
def springfield(roster: Roster, home: Path) -> Roster:
    """A home with a district."""
    assert roster("district", "add", "springfield", "--name", "Springfield").code == 0
    return roster


def typed(text: str, *arguments: object) -> Said:
    """`roster landing …` with that on standard input."""
    from roster_pipeline.cli.main import app

    result = CliRunner().invoke(app, ["landing", *(str(a) for a in arguments)], input=text)
    return Said(result.exit_code, result.stdout, result.stderr)


def right(password: str) -> bool:
    engine = open_warehouse(load_settings().warehouse_url)
    with reading(engine) as conn:
        return verify_password(account_of(conn, "springfield"), password)


class TestAccount:
    def test_without_an_option_it_shows_that_there_is_none_and_what_to_do(
        self, springfield: Roster, home: Path
    ) -> None:
        said = springfield("landing", "account", "springfield")
        assert said.code == 0
        assert "roster landing account springfield --generate" in said.out
        shown = springfield("landing", "account", "springfield", "--format", "json").json()
        assert (shown["username"], shown["password"], shown["keys"]) == (None, False, [])
        assert (shown["host"], shown["port"]) == ("127.0.0.1", 2222)
        public = (home / "keys" / "landing_ed25519.pub").read_text().strip()
        assert shown["host_keys"][0]["key"] == public

    def test_a_generated_password_is_shown_once_with_all_that_the_district_must_know(
        self, springfield: Roster
    ) -> None:
        said = springfield("landing", "account", "springfield", "--generate", "--format", "json")
        told = said.json()
        password = told["generated_password"]
        assert right(password)
        again = springfield("landing", "account", "springfield")
        assert password not in again.out
        assert "Next: `roster landing serve`" in again.out
        for word in ("127.0.0.1", "2222", "springfield", told["host_keys"][0]["fingerprint"]):
            assert word in again.out

    def test_a_password_comes_from_standard_input_without_its_line_break(
        self, springfield: Roster
    ) -> None:
        said = typed("three small words\r\n", "account", "springfield", "--password-stdin")
        assert said.code == 0
        assert right("three small words")
        assert "three small words" not in said.out + said.err

    def test_keys_are_added_shown_and_removed(self, springfield: Roster, tmp_path: Path) -> None:
        file = tmp_path / "key.pub"
        file.write_bytes(USER_KEY.export_public_key("rfc4716"))
        account = ("landing", "account", "springfield", "--format", "json")
        told = springfield(*account, "--public-key", file, "--username", "sps").json()
        assert told["username"] == "sps"
        fingerprint = USER_KEY.get_fingerprint()
        assert told["keys"] == [{"fingerprint": fingerprint, "type": "ssh-ed25519", "bits": 256}]
        assert springfield(*account, "--remove-key", fingerprint).json()["keys"] == []
        said = springfield("landing", "account", "springfield", "--remove-key", fingerprint)
        assert said.code == 2
        assert f"has no key {fingerprint}" in said.err

    def test_a_private_key_is_refused_and_changes_nothing(
        self, springfield: Roster, tmp_path: Path
    ) -> None:
        file = tmp_path / "key"
        file.write_bytes(USER_KEY.export_private_key("openssh"))
        said = springfield("landing", "account", "springfield", "--generate", "--public-key", file)
        assert said.code == 2
        assert "make a new pair" in said.err
        # Nor was the account made, or the password set, for which the same command asked.
        shown = springfield("landing", "account", "springfield", "--format", "json").json()
        assert shown["username"] is None

    def test_an_account_that_is_removed_is_gone(self, springfield: Roster) -> None:
        springfield("landing", "account", "springfield", "--generate")
        said = springfield("landing", "account", "springfield", "--remove")
        assert (
            said.out == "Nobody can log in for springfield any more. Its files are still there.\n"
        )
        assert springfield("landing", "account", "springfield", "--remove").code == 2

    def test_the_password_can_be_taken_away(self, springfield: Roster) -> None:
        springfield("landing", "account", "springfield", "--generate")
        said = springfield("landing", "account", "springfield", "--remove-password")
        assert "Nobody can log in yet" in said.out

    def test_the_audit_log_says_who_it_was(
        self, springfield: Roster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ROSTER_USER", "ann")
        springfield("landing", "account", "springfield", "--generate")
        with reading(open_warehouse(load_settings().warehouse_url)) as conn:
            found = [(e["who"], e["action"]) for e in audit.entries(conn, "springfield")]
        assert found == [("ann", "landing_account_made"), ("ann", "landing_password_set")]

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--generate", "--password-stdin"], "Give one of"),
            (["--generate", "--remove-password"], "Give one of"),
            (["--remove", "--generate"], "give it alone"),
            (["--username", "Spring Field"], "cannot be a user name"),
            (["--username", ""], "cannot be a user name"),
            (["--username", "shelbyville"], "another district's id"),
            (["--password-stdin"], "The password has 5 characters"),
            (["--remove-key", "SHA256:x"], "has no account"),
            (["--public-key", "/nowhere"], "does not exist"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, springfield: Roster, options: list[str], says: str
    ) -> None:
        springfield("district", "add", "shelbyville", "--name", "Shelbyville")
        said = typed("short\n", "account", "springfield", *options)
        assert said.code == 2
        assert says in said.err

    def test_an_unknown_district_is_refused(self, springfield: Roster) -> None:
        said = springfield("landing", "account", "springfeld")
        assert said.code == 2
        assert "did you mean springfield?" in said.err


@contextmanager
def our_server() -> Iterator[int]:
    """`roster landing serve` of this test's home, in a thread; its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = server.serve(load_settings(), "127.0.0.1", 0)
    try:
        serving = asyncio.run_coroutine_threadsafe(running.__aenter__(), loop).result(60)
        yield serving.port
        asyncio.run_coroutine_threadsafe(running.__aexit__(None, None, None), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


class TestHostedConnection:
    @pytest.fixture
    def port(self, springfield: Roster, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
        with our_server() as port:
            monkeypatch.setenv("ROSTER_LANDING_PORT", str(port))
            yield port

    def test_it_is_ok_without_a_secret_from_this_machine(
        self, springfield: Roster, port: int, home: Path
    ) -> None:
        springfield("landing", "account", "springfield", "--generate")
        assert springfield("landing", "test", "springfield").out == "Connection is OK.\n"
        assert list((home / "landing" / "springfield").iterdir()) == []
        assert list((home / "keys" / "ephemeral").iterdir()) == []
        said = springfield("landing", "test", "springfield", "--format", "json").json()
        assert said == {
            "district": "springfield",
            "server": f"127.0.0.1:{port}",
            "ok": True,
            "message": "Connection is OK.",
        }

    def test_the_districts_own_secrets_can_be_tried(
        self, springfield: Roster, port: int, tmp_path: Path
    ) -> None:
        typed("three small words\n", "account", "springfield", "--password-stdin")
        (tmp_path / "key").write_bytes(USER_KEY.export_private_key("openssh"))
        (tmp_path / "key.pub").write_bytes(USER_KEY.export_public_key())

        said = typed("three small words\n", "test", "springfield", "--password-stdin")
        assert (said.code, said.out) == (0, "Connection is OK.\n")
        said = typed("three big words\n", "test", "springfield", "--password-stdin")
        assert said.code == 1
        assert "refuses the user name springfield with this password" in said.err

        by_key = ("landing", "test", "springfield", "--private-key", tmp_path / "key")
        said = springfield(*by_key)
        assert said.code == 1
        assert "with this key" in said.err
        springfield("landing", "account", "springfield", "--public-key", tmp_path / "key.pub")
        assert springfield(*by_key).out == "Connection is OK.\n"

    def test_an_account_nobody_can_use_is_not_ok(self, springfield: Roster, port: int) -> None:
        said = springfield("landing", "test", "springfield")
        assert said.code == 1
        assert "Nobody can log in for springfield yet" in said.err

    def test_a_server_with_other_host_keys_is_not_ok(
        self, springfield: Roster, port: int, home: Path
    ) -> None:
        springfield("landing", "account", "springfield", "--generate")
        other = asyncssh.generate_private_key("ssh-ed25519")
        (home / "keys" / "landing_ed25519").write_bytes(other.export_private_key())
        said = springfield("landing", "test", "springfield", "--format", "json")
        assert said.code == 1
        assert said.json()["ok"] is False
        assert other.get_fingerprint() in said.json()["message"]

    def test_a_server_that_does_not_run_is_not_ok_and_how_to_start_it_is_told(
        self, springfield: Roster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with our_server() as port:
            monkeypatch.setenv("ROSTER_LANDING_PORT", str(port))
        springfield("landing", "account", "springfield", "--generate")
        said = springfield("landing", "test", "springfield")
        assert said.code == 1
        assert "refuses connections" in said.err
        assert "`roster landing serve` starts our server" in said.err

    def test_from_another_machine_it_needs_a_secret(
        self, springfield: Roster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        springfield("landing", "account", "springfield", "--generate")
        monkeypatch.setenv("ROSTER_LANDING_HOST", "192.0.2.1")
        said = springfield("landing", "test", "springfield")
        assert said.code == 1
        assert "give --password-stdin or --private-key FILE" in said.err


class TestForeignConnection:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "server").mkdir()
        return tmp_path / "server"

    def configure(self, home: Path, port: int) -> None:
        path = home / "districts" / "springfield.yaml"
        pinned = line(HOST_KEYS[0])
        path.write_text(
            "name: Springfield\napps:\n  sftp:\n    server: {host: 127.0.0.1, "
            f"port: {port}, username: sis, password_env: SPRINGFIELD_SFTP, host_key: {pinned}, "
            "path: /}\n"
        )

    def test_it_is_ok_when_it_can_be_read_and_written(
        self, springfield: Roster, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SPRINGFIELD_SFTP", PASSWORD)
        with serving(folder) as server:
            self.configure(home, server.port)
            assert springfield("landing", "test", "springfield").out == "Connection is OK.\n"
        assert list(folder.iterdir()) == []

    def test_it_is_ok_when_it_can_only_be_read_and_that_is_told(
        self, springfield: Roster, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class ReadOnly(asyncssh.SFTPServer):
            def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
                raise asyncssh.SFTPPermissionDenied("no")

        monkeypatch.setenv("SPRINGFIELD_SFTP", PASSWORD)
        with serving(folder) as server:
            server.sftp = ReadOnly
            self.configure(home, server.port)
            said = springfield("landing", "test", "springfield")
        assert said.code == 0
        assert said.out.startswith("Connection is OK. Files can be read there and not written")

    def test_what_is_wrong_is_told_in_a_sentence(
        self, springfield: Roster, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving(folder) as server:
            self.configure(home, server.port)
            said = springfield("landing", "test", "springfield")
            assert said.code == 1
            assert "The variable SPRINGFIELD_SFTP" in said.err
            monkeypatch.setenv("SPRINGFIELD_SFTP", "wrong")
            said = springfield("landing", "test", "springfield")
            assert said.code == 1
            assert "refuses the user name sis with this password" in said.err
            assert "wrong" not in said.err

    def test_it_has_no_account_on_our_server(self, springfield: Roster, home: Path) -> None:
        self.configure(home, 22)
        said = springfield("landing", "account", "springfield", "--generate")
        assert said.code == 2
        assert "has a server of its own (127.0.0.1)" in said.err
        assert typed("x\n", "test", "springfield", "--password-stdin").code == 2
