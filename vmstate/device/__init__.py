"""Device state by description: `description`, `fields` and `interpret` are the interpreter that saves and loads."""
