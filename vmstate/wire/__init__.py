"""Bytes of the channels to events: framing, RAM, multifd, the return path. `constants` names every number."""
