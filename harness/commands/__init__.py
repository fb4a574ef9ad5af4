"""The command line: all of typer, and nothing else imports it; `main` has the application."""
