"""``python -m medseg``."""

from medseg.cli.app import main

if __name__ == "__main__":
    main()
