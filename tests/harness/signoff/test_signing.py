# SPDX-License-Identifier: Apache-2.0
"""`migmatrix sign-off`: refused with every reason and nothing written, or signed and all written."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from emulated import write_matrix
from signed import PROFILE, Release, unquoted, waiver, write_key
from tampering import payload

from migmatrix.harness.errors import UserError
from migmatrix.harness.run.pipeline import RunOptions, execute, prepare_plan
from migmatrix.harness.signoff.keys import PASSPHRASE, PublicKey, SigningKey
from migmatrix.harness.signoff.records import Fate, to_json
from migmatrix.harness.signoff.verify import verify
from migmatrix.harness.store import RunStore
from migmatrix.harness.stored.merge import merge

if TYPE_CHECKING:
    from pathlib import Path

CELL = f"pc-q35-7.2/{PROFILE}/qemu-7.2>qemu-8.0/snapshot/paused"


def there(release: Release) -> list[str]:
    return sorted(path.name for path in release.root.iterdir())


def test_a_run_that_fails_is_refused_and_nothing_is_written(release: Release) -> None:
    policy = release.policy()
    before = there(release)

    done = release.sign(policy)

    counts, failures = done.decision.reasons
    assert counts == f"require profile={PROFILE}: 5 of 9 cells pass or are waived, 100% must"
    assert failures == (
        f"require profile={PROFILE}: 4 cells fail, not waived: pci-config pcie-root-port 0x10a:"
        f" {CELL}, pc-q35-7.2/{PROFILE}/qemu-8.0>qemu-7.2/snapshot/paused and 2 more"
    )
    assert there(release) == before


def test_a_signed_directory_has_everything_and_says_what_was_decided(signed: Release) -> None:
    out = signed.root / "signed"
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    streams = {name for name in names if name.startswith("evidence/")}
    assert len(streams) == 3
    assert names - streams == {
        "decision.dsse.json", "decision.json", "legs.txt", "plan.json", "policy.yaml", "release.html", "release.md",
        "results.jsonl", "run.db", "signer.pem", "test-result.dsse.json", "waivers.yaml",
    }  # fmt: skip
    decision = json.loads((out / "decision.json").read_text())
    assert (decision["signed"], decision["accounting"]) == (
        True,
        {
            "passed": 5,
            "waived": 4,
            "broken": 0,
            "blocked": 0,
            "unsupported": 0,
            "flaky": 0,
            "error": 0,
            "not-run": 0,
        },
    )
    assert [(w["id"], w["state"], len(w["cells"])) for w in decision["waivers"]] == [("aer", "applied", 4)]
    assert (out / "results.jsonl").read_bytes() == (signed.run / "results.jsonl").read_bytes()
    assert out.stat().st_mode & 0o777 == 0o755
    assert not list(signed.root.glob(".new-*"))


def test_the_statements_are_what_their_specifications_want(signed: Release) -> None:
    """Fields, types and values of in-toto Statement v1, test-result v0.1 and the SLSA summary v1."""
    out = signed.root / "signed"
    result, summary = payload(out / "test-result.dsse.json"), payload(out / "decision.dsse.json")
    for statement in (result, summary):
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert [row["name"] for row in statement["subject"]] == ["qemu-7.2", "qemu-8.0", "qemu-8.0.1"]
        assert all(re.fullmatch("[0-9a-f]{64}", row["digest"]["sha256"]) for row in statement["subject"])
    assert result["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    tests = result["predicate"]
    assert (tests["result"], len(tests["passedTests"]), len(tests["warnedTests"]), tests["failedTests"]) == (
        "WARNED", 5, 4, [],
    )  # fmt: skip
    assert [row["name"] for row in tests["configuration"]] == ["plan.json", "policy.yaml", "waivers.yaml"]
    assert summary["predicateType"] == "https://slsa.dev/verification_summary/v1"
    predicate = summary["predicate"]
    assert predicate["verificationResult"] == "PASSED"
    assert not [level for level in predicate["verifiedLevels"] if level.startswith("SLSA_")]
    assert dt.datetime.fromisoformat(predicate["timeVerified"]).tzinfo is not None
    assert {"verifier", "resourceUri", "policy", "inputAttestations"} <= predicate.keys()
    for name in ("test-result.dsse.json", "decision.dsse.json"):
        envelope = json.loads((out / name).read_bytes())
        assert envelope["payloadType"] == "application/vnd.in-toto+json"
        assert [row["keyid"] for row in envelope["signatures"]] == [signed.key.id]


def test_a_run_without_failures_is_signed_without_waivers(release: Release) -> None:
    policy = release.policy(require=[{"select": ["path=qemu-7.2>qemu-8.0.1,qemu-7.2>qemu-7.2"]}])
    done = release.sign(policy)
    assert done.decision.reasons == ()
    statement = payload(release.root / "signed" / "test-result.dsse.json")
    assert statement["predicate"]["result"] == "FAILED", "what nothing requires is told all the same"
    assert "4 cells broken that nobody carries" in (release.root / "signed" / "release.md").read_text()


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"guests": ["firmware"]}, ["no cell with the guest 'firmware' passes"]),
        ({"guests": ["paused"], "modes": ["snapshot", "tcp"]}, ["no cell with the mode 'tcp' passes"]),
        ({"checks": ["runs-on"]}, ["no cell with the check 'runs-on' passes"]),
        ({"checks": ["abi"]}, ["no cell with the check 'abi' passes: migmatrix does not have it yet"]),
        ({"chains": 3}, ["no path of 3 builds passes"]),
        ({"signers": ["0" * 64]}, ["is none of those that the policy lets sign"]),
        (
            {"require": [{"select": {"profile": "virtio-blk"}}]},
            ["require profile=virtio-blk: no such cell was planned: known: pcie-root-port"],
        ),
        ({"require": [{"select": {"profile": PROFILE}, "pass": "50%"}], "max_not_run": 3}, []),
    ],
)
def test_each_demand_of_a_policy_is_a_reason_of_its_own(
    release: Release, changes: dict[str, Any], reasons: list[str]
) -> None:
    done = release.sign(release.policy([waiver()], **changes))
    assert len(done.decision.reasons) == len(reasons)
    for told, wanted in zip(done.decision.reasons, reasons, strict=True):
        assert wanted in told


def test_a_signer_that_the_policy_names_may_sign(release: Release) -> None:
    assert release.sign(release.policy([waiver()], signers=[release.key.id])).decision.signed


def test_a_cell_that_did_not_run_is_no_passing_cell_and_cannot_be_waived(release: Release) -> None:
    with RunStore.open(release.run) as run:
        run._database.execute("DELETE FROM cells WHERE cell = ?", (CELL,))  # noqa: SLF001 - as if cut short
        run._database.execute("DROP TABLE tally")  # noqa: SLF001
    done = release.sign(release.policy([waiver()]))
    assert done.decision.count(Fate.NOT_RUN) == 1
    assert [reason.partition(":")[0] for reason in done.decision.reasons] == [
        f"require profile={PROFILE}", f"require profile={PROFILE}", "max_not_run",
    ]  # fmt: skip
    assert f"1 cell not run: {CELL}" in done.decision.reasons[1]
    assert done.decision.waivers[0].refused == 1

    allowed = release.policy(
        [waiver()], require=[{"select": {"profile": PROFILE}, "pass": "80%"}], max_not_run=1
    )
    assert release.sign(allowed).decision.signed


def test_old_evidence_and_evidence_of_unknown_age_are_refused(release: Release) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=8)
    policy = release.policy([waiver()], max_age="7d")
    (reason,) = release.sign(policy, at=later).decision.reasons
    assert reason.startswith("max_age: 9 cells with evidence older than 7 days, the oldest of 20")
    assert release.sign(release.policy([waiver()], max_age="9d"), at=later).decision.signed


def _forget(release: Release) -> None:
    with RunStore.open(release.run) as run:
        run._database.execute("DELETE FROM meta WHERE name IN ('finished', 'sha256')")  # noqa: SLF001


def test_a_run_that_did_not_end_is_refused(release: Release) -> None:
    _forget(release)
    assert release.sign(release.policy([waiver()])).decision.reasons == ("run: it did not come to its end",)


def test_a_run_that_would_be_judged_otherwise_now_is_refused(release: Release) -> None:
    with RunStore.open(release.run) as run:
        results = list(run.results())
        changed = next(r for r in results if r.signature)
        run.replace_results([replace(r, signature="another") if r is changed else r for r in results])
    (reason,) = release.sign(release.policy([waiver()])).decision.reasons
    assert (
        reason == f"run: 1 cell judged otherwise now, which `migmatrix judge` takes over: {changed.cell.id}"
    )


@pytest.mark.parametrize(
    ("days", "state", "notes"),
    [
        (-1, "expired", "expired on"),
        (0, "applied", "in 0 days"),
        (14, "applied", "in 14 days"),
        (15, "applied", None),
    ],
)
def test_a_waiver_counts_to_the_end_of_its_day_and_is_told_two_weeks_before(
    release: Release, days: int, state: str, notes: str | None
) -> None:
    at = dt.datetime(2026, 6, 15, 23, 59, tzinfo=dt.UTC)
    expires = (at.date() + dt.timedelta(days=days)).isoformat()
    decision = release.sign(release.policy([waiver(expires=expires)]), at=at).decision
    assert (decision.waivers[0].state, decision.signed) == (state, state == "applied")
    assert decision.waivers[0].soon == (0 <= days <= 14)
    if decision.signed:
        page = (release.root / "signed" / "release.md").read_text()
        assert (f"- but: `waiver aer: ends on {expires}" in page) == (notes is not None)
        assert verify(release.root / "signed", release.public).problems == []


def test_a_waiver_of_another_cell_or_another_signature_takes_nothing(release: Release) -> None:
    for change in ({"signature": "missing-section *"}, {"selector": {"profile": "nothing"}}):
        decision = release.sign(release.policy([waiver(**change)])).decision
        assert (decision.signed, decision.waivers[0].state) == (False, "unused")
    assert decision.waivers[0].others == 0
    assert release.sign(release.policy([waiver(signature="x")])).decision.waivers[0].others == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "policy.yaml:1:1: key 'require' is missing"),
        ("require: []", "policy.yaml:1:10: at least one is wanted"),
        ("require: [{select: {profile: a}, pass: 100}]", "1:40: a part such as 100% is wanted, not 100"),
        ("require: [{select: {profile: a}, pass: 101%}]", "1:40: a part such as 100% is wanted, not '101%'"),
        ("require: [{select: {profile: a}, percent: 9}]", "1:34: unknown key 'percent': known: select, pass"),
        ("require: [{select: {verdict: pass}}]", "1:21: a selector is about cells: 'verdict' is not one of"),
        ("require: [{select: {a: b}}]\nage: 1", "2:1: unknown key 'age': did you mean 'max_age'?"),
        (
            "require: [{select: {profile: a}}]\nmax_age: 7",
            "2:10: an age such as 7d, 12h or 2w is wanted, not 7",
        ),
        ("require: [{select: {profile: a}}]\nmax_not_run: -1", "2:14: "),
        ("require: [{select: {profile: a}}]\nchecks: [all]", "2:10: 'all' is not one of 'runs-on', 'memory'"),
        ("require: [{select: {profile: a}}]\nwaivers: gone", "2:10: no file 'gone'"),
        ("require: [{select: {profile: a}}]\nsigners: [me]", "2:11: 'me' is no key id"),
    ],
)
def test_a_mistake_in_a_policy_has_its_place(release: Release, text: str, message: str) -> None:
    path = release.root / "policy.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        release.sign(path)
    assert not (release.root / "signed").exists()


def test_a_waiver_for_everything_is_a_mistake_at_its_place(release: Release) -> None:
    path = release.policy([])
    (release.root / "waivers.yaml").write_text(unquoted([waiver(signature="**")]))
    with pytest.raises(UserError, match=r"waivers\.yaml:\d+:\d+: '\*\*' waives every failure"):
        release.sign(path)


@pytest.mark.parametrize("out", ["run", "run/inside", ".", "policy.yaml", "link"])
def test_an_output_directory_that_is_there_or_in_the_run_is_refused(release: Release, out: str) -> None:
    (release.root / "link").symlink_to("nowhere")
    before = there(release)
    policy = release.policy([waiver()])
    with pytest.raises(UserError, match=r"exists and is left as it is|lie in each other"):
        release.sign(policy, out=out)
    assert sorted({*there(release)} - {*before}) == ["policy.yaml", "waivers.yaml"]
    assert not (release.run / "inside").exists()


def test_a_signed_directory_is_signed_no_second_time(signed: Release) -> None:
    again = Release(signed.root)
    (signed.root / "run").rename(signed.root / "before")
    (signed.root / "signed").rename(signed.root / "run")
    with pytest.raises(UserError, match="is signed, nothing may be written to it any more"):
        again.sign(signed.root / "policy.yaml", out="second")


@pytest.mark.parametrize(
    "private",
    [
        pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), id="ecdsa"),
        pytest.param(lambda: rsa.generate_private_key(65537, 2048), id="rsa"),
    ],
)
def test_other_keys_sign_too(release: Release, private: Any) -> None:
    write_key(release.root, private=private())
    assert release.sign(release.policy([waiver()])).decision.signed
    assert verify(release.root / "signed", release.public).problems == []


def test_an_encrypted_key_wants_its_passphrase_by_the_environment(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    path = release.root / "secret.pem"
    path.write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    )
    monkeypatch.delenv(PASSPHRASE, raising=False)
    with pytest.raises(UserError, match=r"is encrypted: put its passphrase into \$MIGMATRIX_KEY_PASSPHRASE"):
        SigningKey.of_file(path)
    monkeypatch.setenv(PASSPHRASE, "wrong")
    with pytest.raises(UserError, match="does not open the key"):
        SigningKey.of_file(path)
    monkeypatch.setenv(PASSPHRASE, "word")
    assert SigningKey.of_file(path).id == PublicKey(private.public_key()).id


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAA==\n", bytes(range(256)), b"a" * 70_000]
)
def test_what_is_no_key_is_one_line(tmp_path: Path, data: bytes) -> None:
    (path := tmp_path / "key").write_bytes(data)
    for read in (SigningKey.of_file, PublicKey.of_file):
        with pytest.raises(UserError, match=r"key") as told:
            read(path)
        assert "\n" not in str(told.value)


def test_keys_in_each_others_place_and_keys_that_cannot_sign_are_told(tmp_path: Path) -> None:
    private = write_key(tmp_path)
    with pytest.raises(UserError, match="holds a public key; a sign-off needs the private one"):
        SigningKey.of_file(tmp_path / "key.pub.pem")
    with pytest.raises(UserError, match="holds a private key; give `verify` the public one"):
        PublicKey.of_file(private)
    write_key(tmp_path, "exchange", x25519.X25519PrivateKey.generate())
    with pytest.raises(UserError, match="holds no private key in PEM that can sign"):
        SigningKey.of_file(tmp_path / "exchange.pem")
    with pytest.raises(UserError, match="cannot read the key"):
        SigningKey.of_file(tmp_path / "gone")


def test_equal_facts_give_equal_decisions(release: Release) -> None:
    at = dt.datetime(2026, 6, 15, tzinfo=dt.UTC)
    policy = release.policy([waiver(expires="2026-07-01")])
    decisions = [to_json(release.sign(policy, out=out, at=at).decision) for out in ("one", "two")]
    assert decisions[0] == decisions[1]
    files = [sorted(path.name for path in (release.root / out).iterdir()) for out in ("one", "two")]
    assert files[0] == files[1]
    for name in ("test-result.dsse.json", "decision.dsse.json"):
        one, two = (payload(release.root / out / name)["predicate"] for out in ("one", "two"))
        assert one.keys() == two.keys()


def test_an_empty_output_directory_and_one_whose_parents_are_not_there_are_filled(release: Release) -> None:
    policy = release.policy([waiver()])
    (release.root / "empty").mkdir()
    for out in ("empty", "not/there/yet"):
        assert release.sign(policy, out=out).decision.signed
        assert verify(release.root / out, release.public).problems == []


def test_foreign_text_is_escaped_in_both_pages(release: Release) -> None:
    hostile = "<script>alert(1)</script> | `x` ![a](b) \x1b[31m\u202e"
    assert release.sign(release.policy([waiver(reason=hostile, owner="[me](javascript:x)")])).decision.signed
    html = (release.root / "signed" / "release.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    for text in (html, (release.root / "signed" / "release.md").read_text()):
        assert not set(text) & {"\x1b", "\u202e"}
    (row,) = [
        line
        for line in (release.root / "signed" / "release.md").read_text().splitlines()
        if line.startswith("| aer |")
    ]
    spans = re.findall(r"(`+)(?: )?(.*?)(?: )?\1(?!`)", row)
    assert any("<script>" in span for _, span in spans)
    assert "<" not in re.sub(r"(`+).*?\1(?!`)", "", row)
    assert "[me]" not in re.sub(r"(`+).*?\1(?!`)", "", row)


def test_a_build_that_no_cell_has_is_no_subject(made: Release, tmp_path: Path) -> None:
    options = RunOptions(
        file=made.root / "matrix.yaml",
        store=made.root / "store",
        out=tmp_path / "run",
        select=("path=qemu-7.2>qemu-8.0.1",),
    )
    execute(prepare_plan(options), options)
    write_key(tmp_path)
    release = Release(tmp_path)
    assert release.sign(release.policy()).decision.reasons == ()
    statement = payload(tmp_path / "signed" / "test-result.dsse.json")
    assert [row["name"] for row in statement["subject"]] == ["qemu-7.2", "qemu-8.0.1"]
    page = (tmp_path / "signed" / "release.md").read_text()
    assert "| qemu-8.0.1 | " in page
    assert "| qemu-8.0 | " not in page
    assert "- but: `only the cells selected by path=qemu-7.2>qemu-8.0.1`" in page


def test_a_merge_of_shards_is_signed_and_a_shard_is_not(tmp_path: Path) -> None:
    matrix = write_matrix(tmp_path, ["7.2", "8.0.1"])
    for number in (1, 2):
        options = RunOptions(
            file=matrix, store=tmp_path / "store", out=tmp_path / str(number), shard=(number, 2)
        )
        execute(prepare_plan(options), options)
    merge([tmp_path / "1", tmp_path / "2"], tmp_path / "run")
    write_key(tmp_path)
    release = Release(tmp_path)
    policy = release.policy()
    assert release.sign(policy).decision.reasons == ()
    assert verify(tmp_path / "signed", release.public).problems == []
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "1").rename(tmp_path / "run")
    decision = release.sign(policy, out="shard").decision
    assert decision.elsewhere > 0
    assert any(f"{decision.elsewhere} cell" in r and "of other shards" in r for r in decision.reasons)
