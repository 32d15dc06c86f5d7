"""Run the command line with ``python -m il7ml``."""

from il7ml.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
