"""Batch intent labels for support tickets: exports in, labelled Parquet and volumes out."""

__version__ = "0.1.0"
