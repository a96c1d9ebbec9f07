"""Mails: what is told to people who do not look, how it reads, and how it gets to them."""
