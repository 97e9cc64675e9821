"""`python -m bactrian`."""

from bactrian.cli import main

if __name__ == "__main__":
    main()
