"""`python -m trialml`."""

import sys

from trialml.cli import main

sys.exit(main())
