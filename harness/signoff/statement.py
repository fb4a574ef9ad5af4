# SPDX-License-Identifier: Apache-2.0
"""What is signed: two in-toto statements about the builds, as bytes that follow from what the directory holds.

1. `test-result` says what was tested and what came of it, and names every other file of the directory with its SHA-256.
2. The verification summary (VSA) says that the policy is met, and rests on the first.
3. Equal facts give equal bytes, so that `verify` can make them again and compare.

Statement v1: https://github.com/in-toto/attestation/tree/main/spec/v1; test-result v0.1: spec/predicates/test-result.md
there; VSA v1: https://slsa.dev/spec/v1.0/verification_summary. Fields that begin with `migmatrix` are extensions, which
the specification allows.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.signoff.records import Fate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.signoff.gather import Tested
    from migmatrix.harness.signoff.records import Decision

__all__ = ["FILES", "summary", "test_result"]

_STATEMENT: Final = "https://in-toto.io/Statement/v1"
TEST_RESULT: Final = "https://in-toto.io/attestation/test-result/v0.1"
SUMMARY: Final = "https://slsa.dev/verification_summary/v1"
FILES: Final = "migmatrixFiles"
# A value of one's own: it must not begin with SLSA_.
_LEVEL: Final = "MIGMATRIX_POLICY_MET"
_CONFIGURATION: Final = ("plan.json", "policy.yaml", "waivers.yaml")


def test_result(tested: Tested, decision: Decision, files: Mapping[str, str], version: str) -> bytes:
    """The statement of what was tested; `files` are the SHA-256 of all other files, `version` is migmatrix's."""
    broken, waived = decision.cells(Fate.BROKEN), decision.cells(Fate.WAIVED)
    predicate = {
        "result": "FAILED" if broken else "WARNED" if waived else "PASSED",
        "configuration": [_resource(name, files[name]) for name in _CONFIGURATION if name in files],
        "passedTests": decision.cells(Fate.PASSED),
        "warnedTests": waived,
        "failedTests": broken,
        "migmatrixVersion": version,
        "migmatrixUntested": {
            fate.value: decision.cells(fate)
            for fate in Fate
            if fate not in (Fate.PASSED, Fate.WAIVED, Fate.BROKEN)
        },
        FILES: dict(sorted(files.items())),
    }
    return _bytes(_statement(tested, TEST_RESULT, predicate))


def summary(
    tested: Tested, decision: Decision, policy: str, result: bytes, signer: str, version: str
) -> bytes:
    """The statement of the decision: `policy` is the SHA-256 of its file, `result` the signed envelope of the other."""
    predicate = {
        "verifier": {"id": f"urn:migmatrix:key:{signer}", "version": {"migmatrix": version}},
        "timeVerified": decision.at.isoformat(),
        "resourceUri": f"urn:migmatrix:plan:{tested.meta['plan']}",
        "policy": {"uri": "policy.yaml", "digest": {"sha256": policy}},
        "inputAttestations": [
            {"uri": "test-result.dsse.json", "digest": {"sha256": hashlib.sha256(result).hexdigest()}}
        ],
        "verificationResult": "PASSED" if decision.signed else "FAILED",
        "verifiedLevels": [_LEVEL] if decision.signed else [],
        "slsaVersion": "1.0",
    }
    return _bytes(_statement(tested, SUMMARY, predicate))


def _statement(tested: Tested, kind: str, predicate: Mapping[str, Any]) -> dict[str, Any]:
    subject = [_resource(row["id"], row["digest"]) for row in tested.builds]
    return {"_type": _STATEMENT, "subject": subject, "predicateType": kind, "predicate": predicate}


def _resource(name: str, digest: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest}}


def _bytes(statement: Mapping[str, Any]) -> bytes:
    return json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
