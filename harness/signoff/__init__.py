# SPDX-License-Identifier: Apache-2.0
"""A release is signed here, and what was signed is verified: start from `sign.sign_off` and `verify.verify`.

`policy` reads what was promised, `gather` reads what a run tested, `decide` is pure and compares the two, `page` shows
it, `statement` says it as in-toto statements, `keys` signs, `sign` writes the directory, `verify` does all of that again.
"""
