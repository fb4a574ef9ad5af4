# SPDX-License-Identifier: Apache-2.0
"""Bytes of the channels to events and back. Start with `reader.StreamReader`; `constants` names every number.

`window` holds the bytes, `channel` the loop of every reader, `phases` the states of the main channel, `ram`
reads page records. What the stream means is no matter of this wing.
"""
