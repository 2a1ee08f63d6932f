"""Whom to thank: licences and citations of what a destination holds.

1. `held`       what has landed, from the ledger, found in IDC's index (`cohort.attribution`)
2. `reference`  a citation as IDC has it -> plain text, and its parts where they can be told apart; pure
3. `bibtex`     the same as BibTeX; pure

Nothing is asked over the network: what the installed index says is what there is.
"""
