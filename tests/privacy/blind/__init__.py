"""A corpus made without a look at the code that it tests: hospital files with people wherever one can stand."""
