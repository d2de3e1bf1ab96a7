"""`python -m ecomintent_batch`."""

from ecomintent_batch.cli import main

main()
