"""`python -m cosmotok`, the same as `cosmotok`."""

from cosmotok.cli import main

main()
