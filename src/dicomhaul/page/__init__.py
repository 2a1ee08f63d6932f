"""The report page of a destination: one self-contained HTML file, and the same figures as one JSON object.

1. `figures` asks the ledger, and the trash, and makes one frozen value; nobody else here reads anything.
2. `asked` puts a query into words that name no patient and no UID.
3. `charts` draws: numbers in, SVG out.
4. `html` fills the template and forbids the page everything: no script, no request, no style but its own.
"""
