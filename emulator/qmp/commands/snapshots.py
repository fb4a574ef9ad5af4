# SPDX-License-Identifier: Apache-2.0
"""snapshot-save, -load, -delete (6.0), and the jobs that they are.

A job here is over when its command returns: it goes through all of QEMU's states at once, on the main loop's
thread, and stays concluded until it is dismissed or the process ends.
"""

from __future__ import annotations

from typing import Any

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.qmp.table import Arguments, Call, command
from migmatrix.emulator.qmp.types import STR, Array, Member, generic

__all__: list[str] = []

_TAG = (Member("job-id", STR), Member("tag", STR))
_DEVICES = Member("devices", Array(STR))


def _job(call: Call, arguments: Arguments, kind: str, work: Any) -> Any:
    """Run `work` as a job: created, running, then waiting and pending or aborting, concluded."""
    name = arguments["job-id"]
    if name in call.server.jobs:
        raise generic(f"Job ID '{name}' already in use")
    job = call.server.jobs[name] = {"id": name, "type": kind, "status": "created"}

    def go(status: str) -> None:
        job["status"] = status
        call.server.emit("JOB_STATUS_CHANGE", {"status": status, "id": name})

    go("created")
    go("running")
    try:
        work()
    except QmpError as err:
        job["error"] = err.desc
        go("aborting")
    else:
        go("waiting")
        go("pending")
    go("concluded")
    return {}


def _where(arguments: Arguments) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name != "job-id"}


@command("snapshot-save", *_TAG, Member("vmstate", STR), _DEVICES, since="6.0")
def snapshot_save(call: Call, arguments: Arguments) -> Any:
    """Save the machine under a tag."""
    return _job(call, arguments, "snapshot-save", lambda: call.server.snapshots.save(**_where(arguments)))


@command("snapshot-load", *_TAG, Member("vmstate", STR), _DEVICES, since="6.0")
def snapshot_load(call: Call, arguments: Arguments) -> Any:
    """Load the machine as it was saved under a tag."""
    return _job(call, arguments, "snapshot-load", lambda: call.server.snapshots.load(**_where(arguments)))


@command("snapshot-delete", *_TAG, _DEVICES, since="6.0")
def snapshot_delete(call: Call, arguments: Arguments) -> Any:
    """Delete the snapshot of a tag."""
    return _job(call, arguments, "snapshot-delete", lambda: call.server.snapshots.delete(**_where(arguments)))


@command("query-jobs")
def query_jobs(call: Call, _: Arguments) -> Any:
    """All jobs that were not dismissed."""
    return [{"current-progress": 1, "total-progress": 1, **job} for job in call.server.jobs.values()]


@command("job-dismiss", Member("id", STR))
def job_dismiss(call: Call, arguments: Arguments) -> Any:
    """Forget a concluded job."""
    if call.server.jobs.pop(arguments["id"], None) is None:
        raise QmpError("DeviceNotActive", "Job not found")
    call.server.emit("JOB_STATUS_CHANGE", {"status": "null", "id": arguments["id"]})
    return {}
