"""The targets, each named for what it attacks; `fuzz.target.load` finds them."""
