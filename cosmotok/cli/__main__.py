"""`python -m cosmotok.cli`, the same as `cosmotok`."""

from cosmotok.command import main

main()
