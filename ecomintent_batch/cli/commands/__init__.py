"""The subcommands: flags to settings, one module a task; `cli.py` makes the program of them."""
