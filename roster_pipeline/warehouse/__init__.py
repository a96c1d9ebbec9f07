"""The warehouse: the current, versioned roster of all districts and the books of their imports.

`tables` says what is stored, `migrations` how a database comes to it, `database` opens one, `lock`
keeps a district's imports apart, `state` reads what is there, `merge` writes a plan into it,
`ledger` keeps the books of the imports and `results` what each came to, `queries` answers
questions, `bulk` moves many rows at once. The same code runs on SQLite and PostgreSQL. Functions
that take a connection work in the caller's transaction.
"""
