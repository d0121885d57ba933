"""Command line. Each verb parses its arguments, calls one function and prints the result."""
