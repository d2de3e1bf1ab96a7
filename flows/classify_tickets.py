"""Label the tickets of one source once, on the server of PREFECT_API_URL or on a temporary one.

    python -m flows.classify_tickets sample_data/tickets.csv --out ecomintent-out

The flow itself is `ecomintent_batch.flows.classify_tickets`; copy this file to add steps of your own.
"""

from ecomintent_batch.cli.flow_script import main

if __name__ == "__main__":
    main()
