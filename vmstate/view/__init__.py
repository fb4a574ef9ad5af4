# SPDX-License-Identifier: Apache-2.0
"""What a whole stream says. Start with `stream.read_stream`; then `decode`, `compare`, `digest`, `outline`."""
