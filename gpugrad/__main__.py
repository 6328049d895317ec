"""`python -m gpugrad`."""

import sys

from .cli import main

sys.exit(main())
