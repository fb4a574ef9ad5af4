# SPDX-License-Identifier: Apache-2.0
"""The command line: all of typer, and nothing else imports it; `main` has the application."""
