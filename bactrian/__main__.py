"""`python -m bactrian`."""

from bactrian.cli.main import main

if __name__ == "__main__":
    main()
