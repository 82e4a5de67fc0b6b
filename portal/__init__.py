"""What people open in a browser: the review desk. Pages are made on the server, in Indonesian."""
