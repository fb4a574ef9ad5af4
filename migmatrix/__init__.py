"""Compatibility-matrix harness for live migration between emulator versions."""
