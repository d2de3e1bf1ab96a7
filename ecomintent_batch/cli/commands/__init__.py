"""The subcommands, one module per task; `cli/app.py` puts them together."""
