"""How the mails read: pairs of HTML and plain text."""
