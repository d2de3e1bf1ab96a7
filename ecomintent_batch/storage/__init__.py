"""Bytes: files that are whole or absent, and object stores. Nothing here knows about tickets."""
