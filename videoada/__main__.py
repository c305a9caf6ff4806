"""`python -m videoada`."""

from videoada.cli import main

main()
