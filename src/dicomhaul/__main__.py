"""`python -m dicomhaul`."""

from dicomhaul.cli.main import run

if __name__ == "__main__":
    run()
