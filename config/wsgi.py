"""The web process: granian --interface wsgi config.wsgi:application"""

import gc
import os
import sys

from config import metrics

if folder := metrics.folder_of(os.getppid()):
    os.environ[metrics.FOLDER] = str(folder)

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from config.bodies import Bodies
from config.boot import prepare, refuse
from config.errors import CannotStart

if not settings.configured:
    prepare()
application = Bodies(get_wsgi_application())

from config.start import check_logins, check_vault  # noqa: E402 - models can be imported only now
from workflows.lanes import ring  # noqa: E402

BEHIND_WORKERS = 5
"""How much further behind workers this process stands where both want the processor: a second of a key's allowance that
passes unused is lost, an answer that comes a little later is not (docs/decisions/0033)."""

try:
    check_logins()
    check_vault()
except CannotStart as error:
    sys.exit(refuse(error))
ring.gather()
os.nice(BEHIND_WORKERS)
# What is loaded by now stays: a full collection would look at a million objects of Django's in the middle of a request.
gc.collect()
gc.freeze()
# A request makes some thousand objects, and all but a few are gone with it: to look for cycles at every 700th, as Python
# does unless told otherwise, takes three hundredths of its time. Not much more rarely: what a refused request brought is
# held by a cycle, and may be ten megabytes.
gc.set_threshold(3_000, 10, 10)
