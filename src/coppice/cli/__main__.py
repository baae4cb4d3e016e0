"""python -m coppice.cli"""

import sys

from coppice.cli import main

if __name__ == "__main__":
    sys.exit(main())
