"""`python -m cosmotok`, the same as `cosmotok`."""

from cosmotok.command import main

main()
