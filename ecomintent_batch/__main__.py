"""`python -m ecomintent_batch`."""

from ecomintent_batch.cli.app import main

main()
