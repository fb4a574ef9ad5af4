"""The migration stream and VMState: bytes to values and back; pure, no input or output.

Start with `vmstate.view.stream.read_stream(buffer) -> Stream` for a whole stream in memory, or with
`vmstate.wire.reader.StreamReader` for bytes that arrive in pieces. Then, by what you want:

    values      vmstate.view.decode, vmstate.view.pci, vmstate.view.opaque       a section's bytes by name
    compare     vmstate.view.compare.diff, vmstate.view.digest.digest        what differs; one hash of a guest's state
    check       vmstate.view.accounting.account                         does every byte belong to an element
    show        vmstate.view.outline.outline                            a stream as plain data
    memory      vmstate.view.ramimage.RamImage                          pages in address order
    write       vmstate.wire.events, vmstate.wire.ramevents                  every event has `encode()`
    channels    vmstate.wire.multifd, vmstate.wire.returnpath, vmstate.wire.channel
    no VMDESC   vmstate.view.learned.LearnedDelimiter                   postcopy and recovery streams
    devices     vmstate.device.description, vmstate.device.interpret             VMState descriptions as data, save and load

All bad input raises `vmstate.errors.StreamError`. Nothing is imported here, so that a program pays only for what
it uses.
"""
