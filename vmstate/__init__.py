# SPDX-License-Identifier: Apache-2.0
"""The migration stream and VMState: bytes to values and back; pure, no input or output.

Start with `vmstate.view.stream.read_stream(buffer) -> Stream` for a whole stream in memory, or with
`vmstate.wire.reader.StreamReader` for bytes that arrive in pieces. Four wings, each built on those before it:

    wire     bytes of the channels to events and back
             `reader` the main channel, `multifd`, `returnpath`, `channel` (postcopy-preempt) the others;
             `events`, `ramevents` what they give, and with `encode()` what a writer sends
    view     what a whole stream says
             `stream` the events, `decode`, `pci`, `opaque` a section's bytes by name, `ramimage` memory in
             address order; `compare` two streams, `pair` reads both at once, `digest` one hash, `outline`
             plain data, `accounting` whether every byte belongs to an element, `learned` postcopy streams,
             which have no VMDESC
    device   VMState descriptions as data, and the one interpreter that saves and loads by them
             `fields` writes a description, `interpret` saves and loads, `registry` the sections of a machine
    check    what a build reads, without running it
             `accept` whether it takes a stream, `static_check` whether it takes what another build sends

All bad input raises `vmstate.errors.StreamError`. Nothing is imported here or in a wing's `__init__`, so that
a program pays only for what it uses.
"""
