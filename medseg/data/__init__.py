"""Data: from files to cases."""
