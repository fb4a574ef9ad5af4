"""Compat tables of builds and of ``compat/``: read, extract, compare, lint; and what static tools see of a red cell."""
