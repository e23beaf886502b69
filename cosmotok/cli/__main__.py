"""`python -m cosmotok.cli`, the same as `cosmotok`."""

from cosmotok.cli import main

main()
