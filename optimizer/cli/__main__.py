"""`python -m optimizer.cli`."""

import sys

from optimizer.cli.command_line import main

sys.exit(main())
