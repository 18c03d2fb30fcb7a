"""`python -m flows.cli`: the same as `regraft`."""

from flows.cli.app import main

main()
