"""QEMU's command line; start from `parse.parse`. `records` is what it means, `table` which options there are."""
