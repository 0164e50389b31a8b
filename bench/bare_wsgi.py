"""The web process of the bare view."""

import os

from django.core.wsgi import get_wsgi_application

from config.boot import prepare

os.environ["DJANGO_SETTINGS_MODULE"] = "bench.bare_settings"
prepare()
application = get_wsgi_application()
