from __future__ import annotations

import re
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import pytest
from argon2 import Parameters
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa
from sqlalchemy import Engine, select

from roster_pipeline.landing.accounts import (
    EPHEMERAL_LIFETIME,
    Account,
    AccountError,
    account_of,
    accounts,
    add_key,
    ephemeral_key,
    find_account,
    generate_password,
    is_ephemeral,
    open_account,
    read_public_key,
    remove_account,
    remove_key,
    remove_password,
    set_password,
    verify_password,
)
from roster_pipeline.settings import Settings, load_settings
from roster_pipeline.warehouse import audit
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.tables import landing_accounts

NOW = datetime(2026, 8, 3, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PASSWORD = "correct horse battery staple"
ED25519 = asyncssh.generate_private_key("ssh-ed25519", comment="Edna's laptop")
RSA = asyncssh.generate_private_key("ssh-rsa", key_size=2048)


def opened(warehouse: Engine, district_id: str = "springfield") -> None:
    with warehouse.begin() as conn:
        open_account(conn, district_id, None, "ann", NOW)


def of(warehouse: Engine, district_id: str = "springfield") -> Account:
    with reading(warehouse) as conn:
        account = account_of(conn, district_id)
    assert account is not None
    return account


class TestAccounts:
    def test_a_new_account_has_the_districts_id_as_user_name_and_lets_nobody_in(
        self, warehouse: Engine
    ) -> None:
        opened(warehouse)
        account = of(warehouse)
        assert account == Account("springfield", "springfield", None, (), NOW, NOW)
        assert not verify_password(account, "")

    def test_it_is_found_by_its_user_name_and_no_other(self, warehouse: Engine) -> None:
        with warehouse.begin() as conn:
            open_account(conn, "springfield", "sps.sis", "ann", NOW)
            open_account(conn, "shelbyville", None, "ann", NOW)
        with reading(warehouse) as conn:
            found = find_account(conn, "sps.sis")
            assert found is not None and found.district_id == "springfield"
            assert [a.district_id for a in accounts(conn)] == ["shelbyville", "springfield"]
            for name in ("springfield", "SPS.SIS", "sps.sis\x00", "", "x" * 5000, "' OR 1=1 --"):
                assert find_account(conn, name) is None

    def test_a_user_name_is_one_districts_only(self, warehouse: Engine) -> None:
        opened(warehouse)
        with (
            warehouse.begin() as conn,
            pytest.raises(AccountError, match="'springfield' is another district's"),
        ):
            open_account(conn, "shelbyville", "springfield", "ann", NOW)
        with reading(warehouse) as conn:
            assert account_of(conn, "shelbyville") is None

    def test_a_user_name_is_of_a_small_alphabet(self, warehouse: Engine) -> None:
        for name in ("a", "Springfield", "-x", "a b", "../x", "ä1", "a" * 64, "a\n", ""):
            with (
                warehouse.begin() as conn,
                pytest.raises(AccountError, match="it must be 2 to 63 small letters"),
            ):
                open_account(conn, "springfield", name, "ann", NOW)

    def test_another_user_name_ends_sessions_and_keeps_the_rest(self, warehouse: Engine) -> None:
        opened(warehouse)
        with warehouse.begin() as conn:
            set_password(conn, "springfield", PASSWORD, "ann", NOW)
        before = of(warehouse)
        with warehouse.begin() as conn:
            open_account(conn, "springfield", "sps", "ann", LATER)
        assert of(warehouse) == replace(before, username="sps", changed_at=LATER)

    def test_a_removed_account_is_gone(self, warehouse: Engine) -> None:
        opened(warehouse)
        with warehouse.begin() as conn:
            remove_account(conn, "springfield", "ann", LATER)
        with reading(warehouse) as conn:
            assert accounts(conn) == []
        with (
            warehouse.begin() as conn,
            pytest.raises(AccountError, match="roster landing account springfield --generate"),
        ):
            remove_account(conn, "springfield", "ann", LATER)

    def test_the_audit_log_says_who_changed_what_and_holds_no_secret(
        self, warehouse: Engine
    ) -> None:
        key = read_public_key(ED25519.export_public_key())
        with warehouse.begin() as conn:
            open_account(conn, "springfield", "sps", "ann", NOW)
            set_password(conn, "springfield", PASSWORD, "ann", NOW)
            add_key(conn, "springfield", ED25519.export_public_key(), "ben", NOW)
            remove_key(conn, "springfield", key.fingerprint, "ben", NOW)
            remove_password(conn, "springfield", "ann", NOW)
            remove_account(conn, "springfield", "ann", NOW)
        with reading(warehouse) as conn:
            entries = audit.entries(conn, "springfield")
        assert [(e["who"], e["action"], e["detail"]) for e in entries] == [
            ("ann", "landing_account_made", "sps"),
            ("ann", "landing_password_set", "sps"),
            ("ben", "landing_key_added", key.fingerprint),
            ("ben", "landing_key_removed", key.fingerprint),
            ("ann", "landing_password_removed", "sps"),
            ("ann", "landing_account_removed", "sps"),
        ]


class TestPasswords:
    def test_the_right_one_is_right_and_others_are_wrong(self, warehouse: Engine) -> None:
        opened(warehouse)
        with warehouse.begin() as conn:
            set_password(conn, "springfield", PASSWORD, "ann", LATER)
        account = of(warehouse)
        assert account.changed_at == LATER
        assert verify_password(account, PASSWORD)
        for wrong in (PASSWORD + " ", PASSWORD.upper(), "", "\ud800", "x" * 100_000):
            assert not verify_password(account, wrong)

    def test_it_is_kept_as_argon2id_of_19_mib_and_two_passes(self, warehouse: Engine) -> None:
        opened(warehouse)
        with warehouse.begin() as conn:
            set_password(conn, "springfield", PASSWORD, "ann", NOW)
        hashed = of(warehouse).password_hash
        assert hashed is not None and hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert hashed not in repr(of(warehouse))

    def test_a_letter_with_an_accent_is_the_same_however_a_client_writes_it(
        self, warehouse: Engine
    ) -> None:
        opened(warehouse)
        with warehouse.begin() as conn:
            set_password(conn, "springfield", "Schl\u00fcssel zur Schule", "ann", NOW)
        assert verify_password(of(warehouse), "Schlu\u0308ssel zur Schule")

    def test_no_account_and_no_password_are_wrong_and_cost_a_check_as_any_other(
        self, warehouse: Engine, checks: list[Parameters]
    ) -> None:
        opened(warehouse)
        without = of(warehouse)
        with warehouse.begin() as conn:
            set_password(conn, "springfield", PASSWORD, "ann", NOW)
        for account in (of(warehouse), without, None):
            assert not verify_password(account, "wrong wrong wrong")
        assert checks == [checks[0]] * 3

    def test_one_that_is_easily_guessed_or_cannot_be_typed_is_refused(
        self, warehouse: Engine
    ) -> None:
        with warehouse.begin() as conn:
            open_account(conn, "springfield", "sps", "ann", NOW)
        for password, says in (
            ("short", "has 5 characters; it must have 12 to 256"),
            ("x1y2z3" * 100, "has 600 characters"),
            ("springfield2026", "little more than the user name"),
            ("Springfield-SIS-1", "little more than the user name"),
            ("sps-sis-sps-1", "little more than the user name"),
            ("abababababababab", "only 2 different characters"),
            ("with a line\nbreak", "control characters"),
            ("half a \ud800 character", "control characters"),
        ):
            with warehouse.begin() as conn, pytest.raises(AccountError, match=says) as error:
                set_password(conn, "springfield", password, "ann", NOW)
            assert password not in str(error.value)
        assert of(warehouse).password_hash is None

    def test_a_generated_one_is_long_easy_to_read_and_accepted(self, warehouse: Engine) -> None:
        opened(warehouse)
        passwords = {generate_password() for _ in range(100)}
        assert len(passwords) == 100
        for password in passwords:
            assert re.fullmatch(r"([a-hjkmnp-z2-9]{5}-){4}[a-hjkmnp-z2-9]{5}", password)
        with warehouse.begin() as conn:
            set_password(conn, "springfield", min(passwords), "ann", NOW)
        assert verify_password(of(warehouse), min(passwords))

    def test_one_can_be_taken_away(self, warehouse: Engine) -> None:
        opened(warehouse)
        with warehouse.begin() as conn:
            set_password(conn, "springfield", PASSWORD, "ann", NOW)
            remove_password(conn, "springfield", "ann", LATER)
            with pytest.raises(AccountError, match="has no password"):
                remove_password(conn, "springfield", "ann", LATER)
        assert of(warehouse).password_hash is None
        assert not verify_password(of(warehouse), PASSWORD)


class TestPublicKeys:
    @pytest.mark.parametrize(
        ("key", "form"),
        [
            (ED25519, "openssh"),
            (ED25519, "rfc4716"),
            (ED25519, "pkcs8-pem"),
            (RSA, "openssh"),
            (RSA, "rfc4716"),
            (RSA, "pkcs1-pem"),
            (RSA, "pkcs8-pem"),
            (asyncssh.generate_private_key("ecdsa-sha2-nistp384"), "pkcs8-pem"),
        ],
    )
    def test_each_form_gives_the_same_line_without_a_comment(
        self, key: asyncssh.SSHKey, form: str
    ) -> None:
        read = read_public_key(key.export_public_key(form))
        assert read.line == " ".join(key.export_public_key().decode().split()[:2])
        assert read.fingerprint == key.get_fingerprint()

    @pytest.mark.parametrize(
        ("key", "type", "bits"),
        [
            (ED25519, "ssh-ed25519", 256),
            (RSA, "ssh-rsa", 2048),
            (asyncssh.generate_private_key("ecdsa-sha2-nistp521"), "ecdsa-sha2-nistp521", 521),
        ],
    )
    def test_type_and_size_are_told(self, key: asyncssh.SSHKey, type: str, bits: int) -> None:
        read = read_public_key(key.export_public_key())
        assert (read.type, read.bits) == (type, bits)

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_files_as_windows_writes_them_are_read(self, encoding: str) -> None:
        text = "# our key\r\n\r\n" + ED25519.export_public_key().decode().strip() + "\r\n"
        assert read_public_key(text.encode(encoding)).fingerprint == ED25519.get_fingerprint()

    @pytest.mark.parametrize(
        "content",
        [
            ED25519.export_private_key("openssh"),
            ED25519.export_private_key(
                "openssh", passphrase="pass phrase", rounds=1, ignore_few_rounds=True
            ),
            RSA.export_private_key("pkcs1-pem"),
            RSA.export_private_key("pkcs8-pem"),
            RSA.export_private_key("pkcs8-der"),
            RSA.export_private_key("pkcs8-pem", passphrase="pass phrase"),
            b"PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: none\r\nPublic-Lines: 2\r\nAAAA",
            b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nAAAA\n",
            ED25519.export_public_key() + ED25519.export_private_key(),
            b"\xef\xbb\xbf" + ED25519.export_private_key(),
            ED25519.export_private_key().decode().encode("utf-16"),
        ],
    )
    def test_a_private_key_is_refused_in_any_form(self, content: bytes) -> None:
        with pytest.raises(AccountError, match="make a new pair") as error:
            read_public_key(content)
        assert "AAAA" not in str(error.value)

    def test_a_private_key_is_not_stored(self, warehouse: Engine) -> None:
        opened(warehouse)
        with warehouse.begin() as conn, pytest.raises(AccountError, match="make a new pair"):
            add_key(conn, "springfield", ED25519.export_private_key("openssh"), "ann", LATER)
        assert of(warehouse) == Account("springfield", "springfield", None, (), NOW, NOW)
        with reading(warehouse) as conn:
            assert [e["action"] for e in audit.entries(conn, "springfield")] == [
                "landing_account_made"
            ]

    def test_weak_keys_are_refused(self) -> None:
        small = asyncssh.generate_private_key("ssh-rsa", key_size=1024).export_public_key()
        with pytest.raises(AccountError, match="1024 bits; it must have 2048 to 16384"):
            read_public_key(small)
        old = dsa.generate_private_key(1024).public_key()
        for form in (
            (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
            (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        ):
            with pytest.raises(AccountError, match="ssh-dss are too weak"):
                read_public_key(old.public_bytes(*form))

    def test_options_and_host_names_in_front_are_refused(self) -> None:
        line = ED25519.export_public_key()
        for front in (b'command="sh",no-pty ', b'from="10.0.0.0/8" ', b"sftp.springfield.example "):
            with pytest.raises(AccountError, match="hand in the line from ssh-ed25519 on"):
                read_public_key(front + line)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"# only a comment\n",
            b"ssh-ed25519",
            b"ssh-ed25519 AAAA",
            b"ssh-ed25519 !!!!",
            b"hello",
            b"\x00\x01\x02",
            b"\x30\x03\x02\x01\x01",
            pytest.param(RSA.export_private_key("pkcs8-der", passphrase="pass phrase"), id="DER"),
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            pytest.param(b"ssh-rsa " + ED25519.export_public_key().split()[1], id="other type"),
            "ssh-ed25519 ÄÖÜ".encode(),
        ],
    )
    def test_what_is_no_key_is_refused(self, content: bytes) -> None:
        with pytest.raises(AccountError, match=r"no public key we can read|hand in one key"):
            read_public_key(content)

    def test_several_keys_at_once_are_refused(self) -> None:
        two = ED25519.export_public_key() + RSA.export_public_key()
        with pytest.raises(AccountError, match="hand in one key"):
            read_public_key(two)
        pem = RSA.export_public_key("pkcs8-pem") + ED25519.export_public_key("pkcs8-pem")
        with pytest.raises(AccountError, match="hand in one key"):
            read_public_key(pem)

    def test_keys_are_added_and_removed_one_by_one(self, warehouse: Engine) -> None:
        opened(warehouse)
        with warehouse.begin() as conn:
            first = add_key(conn, "springfield", ED25519.export_public_key(), "ann", NOW)
            second = add_key(conn, "springfield", RSA.export_public_key(), "ann", LATER)
        assert of(warehouse).public_keys == (first.line, second.line)
        assert of(warehouse).changed_at == LATER
        with warehouse.begin() as conn:
            remove_key(conn, "springfield", first.fingerprint, "ann", LATER)
            with pytest.raises(AccountError, match=re.escape(second.fingerprint)):
                remove_key(conn, "springfield", first.fingerprint, "ann", LATER)
        assert of(warehouse).public_keys == (second.line,)

    def test_a_key_that_is_there_changes_nothing(self, warehouse: Engine) -> None:
        opened(warehouse)
        with warehouse.begin() as conn:
            add_key(conn, "springfield", ED25519.export_public_key(), "ann", NOW)
            add_key(conn, "springfield", ED25519.export_public_key("pkcs8-pem"), "ann", LATER)
        assert len(of(warehouse).public_keys) == 1
        assert of(warehouse).changed_at == NOW

    def test_neither_comment_nor_password_is_in_the_database(self, warehouse: Engine) -> None:
        opened(warehouse)
        with warehouse.begin() as conn:
            set_password(conn, "springfield", PASSWORD, "ann", NOW)
            add_key(conn, "springfield", ED25519.export_public_key(), "ann", NOW)
        with reading(warehouse) as conn:
            stored = str(conn.execute(select(landing_accounts)).all())
            stored += str(audit.entries(conn, "springfield"))
        assert "ssh-ed25519" in stored
        assert "Edna" not in stored and PASSWORD not in stored


class TestEphemeralKeys:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return load_settings({"ROSTER_HOME": str(tmp_path)})

    @staticmethod
    def public(private: str) -> str:
        return asyncssh.import_private_key(private).export_public_key().decode()

    def test_one_counts_for_its_district_from_this_machine_while_the_block_lasts(
        self, settings: Settings
    ) -> None:
        with ephemeral_key(settings, "springfield", NOW) as private:
            line = self.public(private)
            for address in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"):
                assert is_ephemeral(settings, "springfield", line, address, NOW)
                assert is_ephemeral(settings, "springfield", f"{line} comment", address, NOW)
            for address in ("192.0.2.1", "::ffff:192.0.2.1", "0.0.0.0", "", "localhost"):
                assert not is_ephemeral(settings, "springfield", line, address, NOW)
            assert not is_ephemeral(settings, "spring", line, "::1", NOW)
            assert not is_ephemeral(settings, "shelbyville", line, "::1", NOW)
            other = ED25519.export_public_key().decode()
            assert not is_ephemeral(settings, "springfield", other, "::1", NOW)
        assert not is_ephemeral(settings, "springfield", line, "127.0.0.1", NOW)

    def test_it_lives_half_a_minute_even_if_nobody_takes_it_away(self, settings: Settings) -> None:
        with ephemeral_key(settings, "springfield", NOW) as private:
            line = self.public(private)
            moment = NOW + EPHEMERAL_LIFETIME
            assert not is_ephemeral(settings, "springfield", line, "::1", moment)
            assert is_ephemeral(
                settings, "springfield", line, "::1", moment - timedelta(milliseconds=1)
            )
            # Nor may a date far ahead make it last.
            (path,) = (settings.keys / "ephemeral").iterdir()
            path.write_text((NOW + timedelta(days=1)).isoformat())
            assert not is_ephemeral(settings, "springfield", line, "::1", NOW)

    def test_it_is_written_privately_and_without_the_key(self, settings: Settings) -> None:
        with ephemeral_key(settings, "springfield", NOW):
            (path,) = (settings.keys / "ephemeral").iterdir()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert path.read_text() == (NOW + EPHEMERAL_LIFETIME).isoformat()
        assert list((settings.keys / "ephemeral").iterdir()) == []

    def test_what_a_killed_test_left_over_is_swept_away(self, settings: Settings) -> None:
        folder = settings.keys / "ephemeral"
        folder.mkdir(parents=True)
        (folder / "springfield.old").write_text((NOW - timedelta(minutes=1)).isoformat())
        (folder / "springfield.torn").write_text("")
        (folder / "shelbyville.x").write_text("")
        with ephemeral_key(settings, "springfield", NOW):
            assert len(list(folder.iterdir())) == 2
