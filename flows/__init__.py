"""Prefect flows, thin, and the command line: the only package that imports prefect."""
