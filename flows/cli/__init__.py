"""The command line: `regraft COMMAND`. Each command imports what it needs when it runs."""
