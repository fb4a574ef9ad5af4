"""What a stream says, to look at and compare: `stream.read_stream` first, then decode, diff, digest, outline."""
