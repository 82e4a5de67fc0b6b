"""One module per room of the portal: its addresses, and what each shows or does."""
