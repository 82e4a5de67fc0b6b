"""`python -m muara` is the command line."""

from muara.cli import main

main()
