"""`roster landing account` and `roster landing test`: who may log in, and whether it works."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from roster_pipeline.cli.lookup import DistrictArgument, open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, fail, print_json
from roster_pipeline.settings import (
    Settings,
    acting_user,
    is_loopback,
    load_landing_address,
    load_settings,
    prepare_home,
)

if TYPE_CHECKING:
    from roster_pipeline.districts.sections import ForeignServer
    from roster_pipeline.landing.accounts import Account
    from roster_pipeline.landing.client import Endpoint

TEST_FILE = "roster-connection-test.tmp"
"""What is written and deleted; imports ignore its ending."""

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound to
_LARGEST_KEY_FILE = 65536


def add_commands(app: typer.Typer) -> None:
    """Hang the commands of this module on `roster landing`."""
    app.command()(account)
    app.command("test")(try_login)


def account(
    district_id: DistrictArgument,
    username: Annotated[
        str | None, typer.Option(help="The user name; without it the district's id.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Set the password to a line of standard input.")
    ] = False,
    generate: Annotated[
        bool, typer.Option("--generate", help="Set a password that is made up, and show it once.")
    ] = False,
    public_key: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Let this key log in: OpenSSH, RFC 4716 or PEM."
        ),
    ] = None,
    remove_key: Annotated[
        str | None, typer.Option(metavar="FINGERPRINT", help="Take a key away.")
    ] = None,
    remove_password: Annotated[
        bool, typer.Option("--remove-password", help="Let only keys log in.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Let nobody log in any more.")] = False,
    format: FormatOption = Format.table,
) -> None:
    """Show or change who may log in to a district's landing zone; without an option, show it."""
    from roster_pipeline.landing import accounts

    gives = username is not None or password_stdin or generate or public_key is not None
    takes = remove_password or remove_key is not None
    if password_stdin + generate + remove_password > 1:
        fail("Give one of --password-stdin, --generate and --remove-password.", 2)
    if remove and (gives or takes):
        fail("--remove takes the whole account away; give it alone.", 2)
    settings = load_settings()
    prepare_home(settings)
    if not remove:
        _refuse_foreign(settings, district_id, changes=gives)
    _refuse_others_id(settings, district_id, username)
    who, now = acting_user(), datetime.now(UTC)
    password = accounts.generate_password() if generate else None
    if password_stdin:
        password = _typed_password(confirm=True)
    engine = open_or_fail()
    try:
        with engine.begin() as conn:
            if gives:
                accounts.open_account(conn, district_id, username, who, now)
            if password is not None:
                accounts.set_password(conn, district_id, password, who, now)
            if remove_password:
                accounts.remove_password(conn, district_id, who, now)
            if public_key is not None:
                with public_key.open("rb") as file:
                    content = file.read(_LARGEST_KEY_FILE)
                accounts.add_key(conn, district_id, content, who, now)
            if remove_key is not None:
                accounts.remove_key(conn, district_id, remove_key, who, now)
            if remove:
                accounts.remove_account(conn, district_id, who, now)
            shown = accounts.account_of(conn, district_id)
    except accounts.AccountError as error:
        fail(str(error), 2)
    told = _told(settings, district_id, shown)
    if generate:
        told["generated_password"] = password
    if format is Format.json:
        print_json(told)
    elif remove:
        typer.echo(f"Nobody can log in for {district_id} any more. Its files are still there.")
    else:
        _print(told)


def try_login(
    district_id: DistrictArgument,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Log in by password, from standard input.")
    ] = False,
    private_key: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Log in by this key."),
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """Log in as the district does, write a file and delete it.

    Without an option, an account on our own server is tried by a key that lives for seconds, and a
    server of the district's own by what its settings name.
    """
    from roster_pipeline.landing.client import EndpointError, RemoteError, Unreachable

    if password_stdin and private_key:
        fail("Give one of --password-stdin and --private-key.", 2)
    settings = load_settings()
    prepare_home(settings)
    server = _sftp_server(settings, district_id)
    if server != "hosted" and (password_stdin or private_key):
        fail(f"{district_id} has a server of its own; its settings name the secret.", 2)
    password = _typed_password(confirm=False) if password_stdin else None
    where = "its landing zone"
    try:
        with _endpoint(settings, district_id, server, password, private_key) as endpoint:
            where = str(endpoint)
            told = _try(endpoint, hosted=server == "hosted")
    except EndpointError as error:
        _not_ok(district_id, where, str(error), format)
    except Unreachable as error:
        hint = " `roster landing serve` starts our server." if server == "hosted" else ""
        _not_ok(district_id, where, f"{error}{hint}", format)
    except RemoteError as error:
        _not_ok(district_id, where, str(error), format)
    if format is Format.json:
        print_json({"district": district_id, "server": where, "ok": True, "message": told})
    else:
        typer.echo(told)


def _not_ok(district_id: str, where: str, why: str, format: Format) -> NoReturn:
    if format is Format.json:
        print_json({"district": district_id, "server": where, "ok": False, "message": why})
        raise typer.Exit(1)
    fail(why)


def _try(endpoint: Endpoint, *, hosted: bool) -> str:
    """Log in, list, write and delete; what came of it. Raises RemoteError."""
    from roster_pipeline.landing.client import RemoteRefused, connect

    with connect(endpoint) as remote, tempfile.TemporaryDirectory() as folder:
        remote.list_files()
        source = Path(folder) / TEST_FILE
        source.write_text("Written by `roster landing test`.\n")
        try:
            remote.put(source, TEST_FILE)
        except RemoteRefused:
            if hosted:
                raise
            return "Connection is OK. Files can be read there and not written, which is enough."
        remote.remove(TEST_FILE)
    return "Connection is OK."


@contextlib.contextmanager
def _endpoint(
    settings: Settings,
    district_id: str,
    server: str | ForeignServer,
    password: str | None,
    private_key: Path | None,
) -> Iterator[Endpoint]:
    """Where to log in and with what. Raises EndpointError."""
    from roster_pipeline.landing import client
    from roster_pipeline.landing.accounts import account_of, ephemeral_key
    from roster_pipeline.landing.host_keys import host_keys, public_line
    from roster_pipeline.warehouse.database import reading

    if not isinstance(server, str):
        yield client.endpoint_of(server)
        return
    with reading(open_or_fail()) as conn:
        found = account_of(conn, district_id)
    if found is None or not (found.password_hash or found.public_keys):
        raise client.EndpointError(
            f"Nobody can log in for {district_id} yet: roster landing account {district_id} "
            "--generate, or --public-key FILE."
        )
    address = load_landing_address()
    host = _EVERY_ADDRESS.get(address.host, address.host)
    line = public_line(host_keys(settings.keys)[0])
    with contextlib.ExitStack() as stack:
        key = None
        if private_key is not None:
            key = client.read_private_key(private_key.absolute())
        elif password is None and is_loopback(host):
            text = stack.enter_context(ephemeral_key(settings, district_id, datetime.now(UTC)))
            key = client.parse_private_key(text.encode())
        elif password is None:
            raise client.EndpointError(
                f"The server listens on {host} only, and without a secret it can be tried from the "
                "machine itself only: give --password-stdin or --private-key FILE."
            )
        yield client.Endpoint(
            host, address.port, found.username, line, password=password, private_key=key
        )


def _sftp_server(settings: Settings, district_id: str) -> str | ForeignServer:
    """`hosted`, or the district's own server."""
    from roster_pipeline.districts.files import DistrictFileError, UnknownDistrict, load_district

    try:
        sftp = load_district(settings.districts, district_id).apps.sftp
    except (UnknownDistrict, DistrictFileError) as error:
        fail(str(error), 2)
    if sftp is None:
        fail(f"{district_id} does not deliver by SFTP: its file has no sftp under apps.", 2)
    return sftp.server


def _refuse_foreign(settings: Settings, district_id: str, *, changes: bool) -> None:
    server = _sftp_server(settings, district_id)
    if changes and not isinstance(server, str):
        fail(
            f"{district_id} has a server of its own ({server.host}), so nobody needs to log in to "
            "ours. With `server: hosted` in its file it can have an account.",
            2,
        )


def _refuse_others_id(settings: Settings, district_id: str, username: str | None) -> None:
    """A user name that is another district's id would look like that district's."""
    from roster_pipeline.districts.files import district_ids

    if username != district_id and username in district_ids(settings.districts):
        fail(f"The user name {username} is another district's id; choose another one.", 2)


def _typed_password(*, confirm: bool) -> str:
    """The password from standard input, unseen where that is a terminal."""
    if sys.stdin.isatty():
        typed: str = typer.prompt(
            "Password", hide_input=True, confirmation_prompt=confirm, err=True
        )
        return typed
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


def _told(settings: Settings, district_id: str, account: Account | None) -> dict[str, Any]:
    """What the district must know, and what it gave us."""
    import socket

    from roster_pipeline.landing.accounts import keys_of
    from roster_pipeline.landing.host_keys import fingerprint, host_keys, public_line

    address = load_landing_address()
    lines = [public_line(key) for key in host_keys(settings.keys)]
    return {
        "district": district_id,
        "host": socket.gethostname() if address.host in _EVERY_ADDRESS else address.host,
        "port": address.port,
        "host_keys": [{"key": line, "fingerprint": fingerprint(line)} for line in lines],
        "username": account.username if account else None,
        "password": account is not None and account.password_hash is not None,
        "keys": [
            {"fingerprint": key.fingerprint, "type": key.type, "bits": key.bits}
            for key in (keys_of(account) if account else [])
        ],
        "changed_at": account.changed_at if account else None,
    }


def _print(told: dict[str, Any]) -> None:
    rows = [("Server", told["host"]), ("Port", told["port"])]
    rows += [
        ("Its host key", f"{key['fingerprint']} ({key['key'].split()[0]})")
        for key in told["host_keys"]
    ]
    rows.append(("User name", told["username"] or "none yet"))
    if "generated_password" in told:
        rows.append(("Password", told["generated_password"]))
    else:
        rows.append(("Password", "set" if told["password"] else "none"))
    rows += [
        ("Key", f"{key['fingerprint']} ({key['type']}, {key['bits']} bits)") for key in told["keys"]
    ]
    for name, value in rows:
        typer.echo(f"{name:<13} {value}")
    if "generated_password" in told:
        typer.echo("\nThe password is not shown again. Tell it by telephone or a safe message.")
    if not told["password"] and not told["keys"]:
        typer.echo(
            f"\nNobody can log in yet: roster landing account {told['district']} --generate, or "
            "--public-key FILE."
        )
    else:
        typer.echo(
            "\nNext: `roster landing serve`, which must run whenever the district uploads;\n"
            f"then `roster landing test {told['district']}` tries the login."
        )
    if is_loopback(told["host"]):
        typer.echo(
            "\nOnly this machine can reach the server; ROSTER_LANDING_HOST=0.0.0.0 opens it to all."
        )
