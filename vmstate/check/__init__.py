# SPDX-License-Identifier: Apache-2.0
"""What a build reads, decided without running it. Start with `accept.acceptance`, which asks it of a stream.

`static_check` asks it of two builds' own descriptions, which `schema` parses.
"""
