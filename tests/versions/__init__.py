"""Which versions of Python and of our dependencies the tests pass with."""
