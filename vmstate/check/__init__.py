"""Would this be taken? `accept` asks it of a stream, `static_check` of two builds' own descriptions."""
