"""Command line: each verb parses its arguments, calls one function and prints."""
