"""The inside of the VMState interpreter; use `vmstate.interpret`."""
