"""The web process: granian --interface wsgi config.wsgi:application"""

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from config.boot import prepare

if not settings.configured:
    prepare()
application = get_wsgi_application()
