"""The reference emulator; its content comes with issue C."""
