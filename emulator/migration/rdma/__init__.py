# SPDX-License-Identifier: Apache-2.0
"""The RDMA transport: `channel` connects and listens, `memory` moves guest memory, both over an `exchange`.

`messages` (bytes of the control channel) and the tables of `exchange` are pure; `verbs` is the little of a device that is
needed, in memory and as frames over TCP. No device is needed, and none is used.
"""
