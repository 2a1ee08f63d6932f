"""The command line: one file a command, exit codes in one table (`main`), what commands share in `shared`."""
