"""Published tables: declared in TOML, compared with published numbers, rendered."""
