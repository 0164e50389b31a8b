"""Settings of the bare view that accepting is measured beside: the same database and login, nothing of ours."""

from config import settings as ours

SECRET_KEY = ours.SECRET_KEY
ALLOWED_HOSTS = ours.ALLOWED_HOSTS
DATABASES = {"default": ours.DATABASES["default"]}
LOGGING = ours.LOGGING
USE_TZ = True
DEFAULT_AUTO_FIELD = ours.DEFAULT_AUTO_FIELD
INSTALLED_APPS: list[str] = []
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "bench.bare_site"
