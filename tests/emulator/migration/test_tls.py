# SPDX-License-Identifier: Apache-2.0
"""Encrypted migrations between two machines: what arrives, and what each side says when they do not agree.

The words, and who ends and who goes on, were seen on QEMU 7.2.22, 10.0.13 and 11.1.3 with the same files.
"""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from certificates import authority, issue
from migration_machines import enable, fill, make, memory, none, runs, status, statuses, target, until

from migmatrix.emulator.errors import FatalError, QmpError
from migmatrix.emulator.migration.address import parse_uri
from migmatrix.emulator.migration.authorization import authorized
from migmatrix.emulator.migration.channel import Channel, Wake
from migmatrix.emulator.migration.multifd_packets import initial
from migmatrix.emulator.migration.streams import Input
from migmatrix.emulator.migration.tls import Tls
from migmatrix.emulator.migration.transports import listen
from migmatrix.vmstate.record import replace

if TYPE_CHECKING:
    from pathlib import Path

    from migration_machines import Box

MIB = 3
EOF = "TLS handshake failed: The TLS connection was non-properly terminated."


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories of credentials by what is special about them."""
    root, ca = tmp_path_factory.mktemp("tls"), authority()
    issue(root / "good", ca, "localhost", "127.0.0.1", "*.example.org")
    issue(root / "elsewhere", ca, "elsewhere.example.net")
    issue(root / "anonymous", ca, "localhost", client=None)
    issue(root / "expired", ca, "localhost", expired=True)
    issue(root / "other", authority(), "localhost")
    (root / "empty").mkdir()
    return root


def credentials(files: Path, endpoint: str, kind: str = "good", more: str = "") -> tuple[str, str]:
    return "-object", f"tls-creds-x509,id=tls0,dir={files / kind},endpoint={endpoint}{more}"


def sides(old: str, new: str, ours: tuple[str, ...], theirs: tuple[str, ...], **said: Any) -> tuple[Box, Box]:
    """A running source and a destination, both told to use `tls0`; parameters of the source besides."""
    source, there = none(old, *ours, mib=MIB), target(new, *theirs, mib=MIB)
    fill(source)
    source.vm_start()
    source.migration.set_parameters({"tls-creds": "tls0", "tls-hostname": "localhost", **said})
    there.migration.set_parameters({"tls-creds": "tls0"})
    return source, there


def migrate(source: Box, there: Box, path: Path) -> dict[str, Any]:
    there.migration.incoming(f"unix:{path / 'm'}")
    source.migration.migrate(f"unix:{path / 'm'}")
    return status(source)


@pytest.mark.parametrize(("old", "new"), [("5.2", "5.2"), ("7.2", "11.1"), ("11.1", "7.2"), ("10.0", "10.0")])
@pytest.mark.parametrize("capabilities", [(), ("return-path",), ("postcopy-ram",), ("multifd",)])
def test_memory_arrives(
    old: str, new: str, capabilities: tuple[str, ...], files: Path, tmp_path: Path
) -> None:
    words = ("-M", "pc-q35-5.2", "-m", str(MIB), "-nodefaults")
    source = make(old, *words, *credentials(files, "client"))
    there = make(new, *words, "-incoming", "defer", *credentials(files, "server"))
    fill(source)
    for side in (source, there):
        enable(side, *capabilities)
        side.migration.set_parameters({"tls-creds": "tls0"})
    source.migration.set_parameters({"tls-hostname": "localhost"})
    assert migrate(source, there, tmp_path)["status"] == "completed", source.migration.query()
    assert status(there)["status"] == "completed"
    assert memory(source) == memory(there)


def test_nothing_of_the_guest_is_readable_on_the_way(files: Path, tmp_path: Path) -> None:
    """A relay sees all bytes; the guest's are not among them."""
    source, there = sides("10.0", "10.0", credentials(files, "client"), credentials(files, "server"))
    there.migration.incoming(f"unix:{tmp_path / 'm'}")
    relay = socket.socket(socket.AF_UNIX)
    relay.bind(str(tmp_path / "relay"))
    relay.listen(1)
    source.migration.migrate(f"unix:{tmp_path / 'relay'}")
    near, far = relay.accept()[0], socket.socket(socket.AF_UNIX)
    far.connect(str(tmp_path / "m"))
    seen = bytearray()
    near.settimeout(0.01)
    far.settimeout(0.01)
    ends = {near: far, far: near}
    while source.migration.query()["status"] not in ("completed", "failed"):
        for one, other in ends.items():
            try:
                data = one.recv(1 << 20)
            except TimeoutError:
                continue
            seen += data
            other.settimeout(None)
            other.sendall(data)
            other.settimeout(0.01)
    near.settimeout(None)
    while data := near.recv(1 << 20):
        far.sendall(data)
    for end in (near, far, relay):
        end.close()
    assert status(there)["status"] == "completed"
    assert memory(source) == memory(there)
    assert len(seen) > MIB << 18
    assert b"guestguest" not in seen.replace(b"\0", b"")
    assert b"QEVM" not in seen


def test_over_tcp_the_host_is_the_name(files: Path) -> None:
    source, there = sides("11.1", "10.0", credentials(files, "client"), credentials(files, "server"))
    source.migration.set_parameters({"tls-hostname": ""})
    there.migration.incoming("tcp:127.0.0.1:0")
    (where,) = there.migration.query()["socket-address"]
    source.migration.migrate(f"tcp:127.0.0.1:{where['port']}")
    assert status(source)["status"] == "completed"
    assert status(there)["status"] == "completed"


@pytest.mark.parametrize(
    ("name", "fits"), [("a.example.org", True), ("example.org", False), ("a.b.example.org", False)]
)
def test_a_star_is_one_label(name: str, fits: bool, files: Path, tmp_path: Path) -> None:
    source, there = sides(
        "10.0", "10.0", credentials(files, "client"), credentials(files, "server"), **{"tls-hostname": name}
    )
    answer = migrate(source, there, tmp_path)
    assert answer["status"] == ("completed" if fits else "failed")
    assert answer.get("error-desc", "") == ("" if fits else f"Certificate does not match the hostname {name}")


# what is on the source, on the destination, the source's error, the destination's lines, and whether that ends
DISAGREE: list[tuple[str, Any, Any, dict[str, Any], str, list[str], bool]] = [
    ("no object", None, "server", {}, "No TLS credentials with id 'tls0'", [EOF], False),
    ("no object there", "client", None, {}, EOF, ["No TLS credentials with id 'tls0'"], True),
    ("wrong end", "server", "server", {}, "Expected TLS credentials for a client endpoint", [EOF], False),
    ("wrong end there", "client", "client", {}, EOF, ["Expected TLS credentials for a server endpoint"], True),
    ("no name", "client", "server", {"tls-hostname": ""}, "No hostname for certificate validation",
     ["Not a migration stream", "load of migration failed: Invalid argument"], True),
    ("other name", "client", ("server", "elsewhere"), {}, "Certificate does not match the hostname localhost",
     ["Not a migration stream", "load of migration failed: Invalid argument"], True),
    ("unknown issuer", ("client", "other"), "server", {}, "The certificate hasn't got a known issuer",
     ["TLS handshake failed: A TLS fatal alert has been received."], False),
    ("too old", "client", ("server", "expired"), {}, "The certificate has expired",
     ["TLS handshake failed: A TLS fatal alert has been received."], False),
]  # fmt: skip


def _object(files: Path, what: Any) -> tuple[str, ...]:
    if what is None:
        return ()
    return credentials(files, *([what] if isinstance(what, str) else what))


@pytest.mark.parametrize(
    ("ours", "theirs", "said", "error", "lines", "ends"),
    [row[1:] for row in DISAGREE],
    ids=[row[0] for row in DISAGREE],
)
def test_sides_that_do_not_agree(
    ours: Any, theirs: Any, said: dict[str, Any], error: str, lines: list[str], ends: bool, files: Path, tmp_path: Path
) -> None:  # fmt: skip
    source, there = sides("10.0", "10.0", _object(files, ours), _object(files, theirs), **said)
    enable(source, "events")
    answer = migrate(source, there, tmp_path)
    # a connection that the other side has closed may break at a read or a write
    found = answer["error-desc"] if error is EOF else error
    assert (answer["status"], answer["error-desc"]) == ("failed", found)
    assert found == error or found.startswith("TLS handshake failed: Error in the pu")
    assert statuses(source)[-2:] == ["setup", "failed"]
    assert source.said == [found]
    assert source.runstate == "running"
    until(lambda: there.said == lines, f"{lines}, not {there.said}")
    until(lambda: bool(there.ended) is ends, "its end")
    assert there.migration.query()["status"] == ("failed" if ends else "setup")


@pytest.mark.parametrize(("release", "ends"), [("7.2", False), ("11.1", True)])
def test_a_destination_without_its_credentials(release: str, ends: bool, files: Path, tmp_path: Path) -> None:
    source, there = sides(release, release, credentials(files, "client"), ())
    assert migrate(source, there, tmp_path)["error-desc"].startswith("TLS handshake failed: ")
    until(lambda: there.said == ["No TLS credentials with id 'tls0'"], "its line")
    until(lambda: bool(there.ended) is ends, "its end")


def test_a_client_without_a_certificate_is_not_let_in(files: Path, tmp_path: Path) -> None:
    source, there = sides(
        "10.0", "10.0", credentials(files, "client", "anonymous"), credentials(files, "server")
    )
    migrate(source, there, tmp_path)  # it may have sent all before it sees that nobody reads: as in QEMU
    until(lambda: there.said == ["Verify failed: No certificate was found."], "its line")
    assert there.migration.query()["status"] == "setup"


@pytest.mark.parametrize("kind", ["anonymous", "other"])
def test_nobody_looks_with_verify_peer_off(kind: str, files: Path, tmp_path: Path) -> None:
    ours = credentials(files, "client", kind, ",verify-peer=off")
    source, there = sides("10.0", "10.0", ours, credentials(files, "server", more=",verify-peer=off"))
    assert migrate(source, there, tmp_path)["status"] == "completed"
    assert status(there)["status"] == "completed"


def test_one_side_only(files: Path, tmp_path: Path) -> None:
    source, there = sides("10.0", "10.0", credentials(files, "client"), credentials(files, "server"))
    there.migration.set_parameters({"tls-creds": ""})
    assert migrate(source, there, tmp_path)["error-desc"].startswith("TLS handshake failed: ")
    until(
        lambda: there.said == ["Not a migration stream", "load of migration failed: Invalid argument"],
        "its end",
    )
    plain, secure = none("10.0", mib=8), target("10.0", *credentials(files, "server"), mib=8)
    secure.migration.set_parameters({"tls-creds": "tls0"})
    (tmp_path / "b").mkdir()
    migrate(plain, secure, tmp_path / "b")
    until(lambda: secure.said, "its line")
    assert secure.said == ["TLS handshake failed: An unexpected TLS packet was received."]
    assert secure.migration.query()["status"] == "setup"


@pytest.mark.parametrize(("owner", "lines"), [
    ("identity=NAME", []),
    ("identity=CN=eve", ["TLS x509 authz check for NAME is denied"]),
    (None, ["Cannot find QAuthZ object ID az"]),
])  # fmt: skip
def test_who_may_send_a_guest(owner: str | None, lines: list[str], files: Path, tmp_path: Path) -> None:
    name = _subject(files / "good" / "client-cert.pem")
    more = (
        ("-object", f"authz-simple,id=az,{owner.replace('NAME', name.replace(',', ',,'))}") if owner else ()
    )
    source, there = sides(
        "10.0", "10.0", credentials(files, "client"), (*credentials(files, "server"), *more)
    )
    there.migration.set_parameters({"tls-authz": "az"})
    migrate(source, there, tmp_path)
    if lines:
        until(lambda: there.said == [line.replace("NAME", name) for line in lines], "its line")
    assert status(there, "setup" if lines else "completed")


def _rules(*rules: tuple[str, str, str], policy: str = "deny") -> str:
    made = [{"match": match, "policy": each, "format": form} for match, each, form in rules]
    return json.dumps({"qom-type": "authz-list", "id": "az", "policy": policy, "rules": made})


@pytest.mark.parametrize(("given", "identity", "allowed"), [
    (_rules(), "CN=a", False),
    (_rules(policy="allow"), "CN=a", True),
    (_rules(("CN=a", "allow", "exact")), "CN=a", True),
    (_rules(("CN=*", "allow", "exact")), "CN=a", False),
    (_rules(("CN=*", "allow", "glob")), "CN=a", True),
    (_rules(("CN=eve", "deny", "exact"), ("CN=*", "allow", "glob")), "CN=eve", False),
    (_rules(("*", "deny", "glob"), ("CN=a", "allow", "exact"), policy="allow"), "CN=a", False),
])  # fmt: skip
def test_the_first_rule_that_matches_decides(given: str, identity: str, allowed: bool) -> None:
    machine = none("10.0", "-object", given)
    assert authorized(machine.options.of("object"), "az", identity) is allowed


@pytest.mark.parametrize(("given", "words"), [
    ('{"qom-type": "authz-list", "id": "a", "rules": [{"match": "b"}]}', "Parameter 'rules[0].policy' is missing"),
    (_rules(("b", "allow", "regex")), "Parameter 'format' does not accept value 'regex'"),
    ('{"qom-type": "authz-list", "id": "a", "rules": 1}', "Invalid parameter type for 'rules', expected: array"),
    ("authz-list,id=a,policy=maybe", "Parameter 'policy' does not accept value 'maybe'"),
    ("authz-list,id=a,rules.0.match=b", "Invalid parameter 'rules.0.match'"),
    ("authz-list-file,id=a,filename=b", "Parameter 'qom-type' does not accept value 'authz-list-file'"),
    ("authz-simple,id=a", "Parameter 'identity' is missing"),
])  # fmt: skip
@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_who_may_connect_is_refused_in_the_words_of_real_qemu(given: str, words: str, release: str) -> None:
    with pytest.raises(FatalError) as refused:
        none(release, "-object", given)
    assert str(refused.value) == f"-object {given}: {words}"


def _subject(file: Path) -> str:
    """The subject as QEMU says it, in the order of the certificate."""
    from cryptography.x509 import load_pem_x509_certificate

    words = {"organizationName": "O", "organizationalUnitName": "OU", "commonName": "CN"}
    subject = load_pem_x509_certificate(file.read_bytes()).subject
    return ",".join(f"{words[part.oid._name]}={part.value!s}" for part in subject)  # noqa: SLF001 - its only plain name


# -- while somebody waits --------------------------------------------------------------------------


def test_the_monitor_answers_while_a_handshake_waits_and_can_cancel_it(files: Path, tmp_path: Path) -> None:
    source = none("10.0", *credentials(files, "client"), mib=MIB)
    source.vm_start()
    source.migration.set_parameters({"tls-creds": "tls0", "tls-hostname": "localhost"})
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen(1)
        source.migration.migrate(f"unix:{tmp_path / 'silent'}")
        with silent.accept()[0] as connection:
            assert connection.recv(3) == b"\x16\x03\x01"  # the client begins
            assert source.migration.query()["status"] == "setup"
            source.migration.cancel()
            assert status(source)["status"] == "cancelled"
    assert source.runstate == "running"


def test_a_connection_that_says_nothing_stands_in_nobodys_way(files: Path, tmp_path: Path) -> None:
    source, there = sides("10.0", "10.0", credentials(files, "client"), credentials(files, "server"))
    there.migration.incoming(f"unix:{tmp_path / 'm'}")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(tmp_path / "m"))
        source.migration.migrate(f"unix:{tmp_path / 'm'}")
        assert status(source)["status"] == "completed"
        assert status(there)["status"] == "completed"
        assert silent.recv(1) == b""
    assert there.said == []


def test_channels_keep_the_order_in_which_a_source_opened_them(files: Path, tmp_path: Path) -> None:
    """A source connects the next when it has sent the last of its handshake; more of them than threads get along with."""
    there = target("7.2", *credentials(files, "server"))
    tls = Tls(objects=there.options.of("object"), credentials="tls0", release="7.2", incoming=True)
    address = parse_uri(f"unix:{tmp_path / 'm'}", there.migration.traits, incoming=True)
    context = ssl.create_default_context(cafile=files / "good" / "ca-cert.pem")
    context.load_cert_chain(files / "good" / "client-cert.pem", files / "good" / "client-key.pem")
    arrival = listen(replace(address, tls=tls), None, {})
    with ExitStack() as stack:
        for number in range(16):
            plain = stack.enter_context(socket.socket(socket.AF_UNIX))
            plain.connect(str(tmp_path / "m"))
            stack.enter_context(context.wrap_socket(plain, server_hostname="localhost")).send(bytes([number]))
        first = bytearray(1)
        for number in range(16):
            channel = arrival.accept(Wake())
            assert channel is not None
            channel.read_into(memoryview(first))
            assert first[0] == number
            channel.close()
    arrival.close()


class Secured(Channel):
    """As if TLS were on."""

    @property
    def secured(self) -> bool:
        return True


@pytest.mark.parametrize("release", ["7.2", "10.0"])
def test_a_channel_of_multifd_that_is_ready_first_is_not_the_main_one(release: str) -> None:
    there = target(release)
    enable(there, "multifd")
    connections = there.migration.connections()
    with ExitStack() as stack:
        for first in (initial(bytes(16), 0), b"QEVM\0\0\0\3"):
            near, far = socket.socketpair()
            stack.enter_context(far).sendall(first)
            channel = Secured(near.detach(), "socket")
            with there.bql:
                connections.add(channel, Input(channel, there.bql))
        assert connections.main[0] is channel
        connections.close()


def test_a_handshake_that_failed_is_followed_by_another(files: Path, tmp_path: Path) -> None:
    source, there = sides("10.0", "10.0", credentials(files, "client"), credentials(files, "server"))
    there.migration.incoming(f"unix:{tmp_path / 'm'}")
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(tmp_path / "m"))
        other.sendall(b"GET / HTTP/1.0\r\n\r\n")
        until(lambda: there.said, "its line")
    source.migration.migrate(f"unix:{tmp_path / 'm'}")
    assert status(source)["status"] == "completed"
    assert status(there)["status"] == "completed"
    assert there.said == ["TLS handshake failed: An unexpected TLS packet was received."]


# -- the command line ------------------------------------------------------------------------------

START = [
    ("tls-creds-x509,id=t,endpoint=client", "Missing 'dir' property value"),
    ("tls-creds-x509,id=t,dir=DIR/empty,endpoint=client",
     "Unable to access credentials DIR/empty/ca-cert.pem: No such file or directory"),
    ("tls-creds-x509,id=t,dir=DIR/empty,endpoint=server,verify-peer=off",
     "Unable to access credentials DIR/empty/server-cert.pem: No such file or directory"),
    ("tls-creds-x509,id=t,dir=DIR/good,endpoint=peer",
     "-object WHAT: Parameter 'endpoint' does not accept value 'peer'"),
    ("tls-creds-anon,id=t,endpoint=client", "-object WHAT: the emulator has no tls-creds-anon; use tls-creds-x509"),
    ("tls-creds-psk,id=t,endpoint=client,dir=DIR/empty",
     "-object WHAT: the emulator has no tls-creds-psk; use tls-creds-x509"),
    ("tls-creds-x509,id=t,dir=DIR/good,priority=NORMAL",
     "-object WHAT: the emulator has no priority; use tls-creds-x509 without it"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "words"), START)
def test_credentials_that_are_refused_at_the_start(what: str, words: str, files: Path) -> None:
    what = what.replace("DIR", str(files))
    with pytest.raises(FatalError) as refused:
        none("10.0", "-object", what)
    assert str(refused.value) == words.replace("DIR", str(files)).replace("WHAT", what)


def test_a_file_that_is_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca-cert.pem").write_text("nothing\n")
    with pytest.raises(FatalError, match="Unable to load certificates of "):
        none("10.0", "-object", f"tls-creds-x509,id=t,dir={tmp_path}")


def test_zero_copy_and_encryption_exclude_each_other() -> None:
    machine = runs("10.0")
    machine.migration.set_parameters({"tls-creds": "tls0"})
    with pytest.raises(
        QmpError, match="Zero copy only available for non-compressed non-TLS multifd migration"
    ):
        enable(machine, "multifd", "zero-copy-send")
