"""The migration stream and VMState: bytes to values and back; pure, no input or output.

Start with `vmstate.stream.read_stream(buffer) -> Stream` for a whole stream in memory, or with
`vmstate.reader.StreamReader` for bytes that arrive in pieces. Then, by what you want:

    values      vmstate.decode, vmstate.pci, vmstate.islands       a section's bytes by name
    compare     vmstate.compare.diff, vmstate.digest.digest        what differs; one hash of a guest's state
    check       vmstate.accounting.account                         does every byte belong to an element
    show        vmstate.outline.outline                            a stream as plain data
    memory      vmstate.ramimage.RamImage                          pages in address order
    write       vmstate.events, vmstate.ramevents                  every event has `encode()`
    channels    vmstate.multifd, vmstate.returnpath, vmstate.channel
    no VMDESC   vmstate.learned.LearnedDelimiter                   postcopy and recovery streams
    devices     vmstate.description, vmstate.interpret             VMState descriptions as data, save and load

All bad input raises `vmstate.errors.StreamError`. Nothing is imported here, so that a program pays only for what
it uses.
"""
