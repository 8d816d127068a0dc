"""One module per socket type: what its addresses, options and errors are."""
