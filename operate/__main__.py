"""`python -m operate`."""

import sys

from operate.cli import main

if __name__ == "__main__":
    sys.exit(main())
