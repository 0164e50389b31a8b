"""The web process: granian --interface wsgi config.wsgi:application"""

import sys

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from config.boot import prepare, refuse
from config.errors import CannotStart

if not settings.configured:
    prepare()
application = get_wsgi_application()

from config.start import check_logins, check_vault  # noqa: E402 - models can be imported only now

try:
    check_logins()
    check_vault()
except CannotStart as error:
    sys.exit(refuse(error))
