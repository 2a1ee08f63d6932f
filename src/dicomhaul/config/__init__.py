"""What the user chose, as frozen values: where from (`source`) and how (`options`)."""
