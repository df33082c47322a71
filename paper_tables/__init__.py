"""Published tables are declared in TOML, compared with published numbers, and rendered."""
