"""The body of a ticket → the customer's newest message → its language and words."""
