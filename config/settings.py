"""Settings: composed from the checked environment (config/env.py), grouped, no default that is unsafe in production."""

import logging
from typing import Any

import environ
from csp.constants import NONCE, NONE, SELF

from config.api_description import API_DESCRIPTION
from config.env import ENV
from config.observability import logging_config
from config.ops_theme import UNFOLD as UNFOLD

# --- Core -------------------------------------------------------------------------------------------------------------
BASE_DIR = ENV.base_dir
WEIR_ENV = ENV.env
DEBUG = ENV.debug
SECRET_KEY = ENV.secret_key
ALLOWED_HOSTS = ENV.allowed_hosts
BASE_URL = ENV.base_url
DATA_DIR = ENV.data_dir
HARDENED = ENV.env in ("staging", "production")
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
FORMAT_MODULE_PATH = ["config.formats"]
USE_TZ = True
SITE_ID = 1

INSTALLED_APPS = [
    "config.apps.WeirConfig",
    "workflows.apps.WorkflowsConfig",
    "billing.apps.BillingConfig",
    "integrations.apps.IntegrationsConfig",
    "tenants.apps.TenantsConfig",
    "unfold.apps.BasicAppConfig",  # the default one would put its own site in the place of ours
    "unfold.contrib.filters",
    "config.ops.OpsAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "django_celery_results",
    "django_htmx",
    "django_structlog",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
]

MIDDLEWARE = [
    "config.middleware.RequestContextMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.shortcut.ApiShortcut",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "tenants.middleware.SessionSeenMiddleware",
    "tenants.middleware.TenantMiddleware",
    "config.ops_middleware.OpsConsoleMiddleware",
    "config.shortcut.ApiShortcutEnd",
    "config.rate_headers.RateHeadersMiddleware",
    "config.middleware.CacheHeadersMiddleware",
    "config.middleware.ContentPolicyMiddleware",
    "config.unknown_callers.UnknownCallersMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "tenants.web.context_processors.frame",
            ],
        },
    }
]

# --- Databases: one database, two logins; `migrate` alone signs in as the owner -----------------------------------------


def _login(name: str) -> dict[str, Any]:
    url = ENV.database_urls.get(name)
    if not url:
        return {"ENGINE": "django.db.backends.dummy"}
    return {
        **environ.Env.db_url_config(url),
        "ENGINE": "config.database",
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "ATOMIC_REQUESTS": False,
        "OPTIONS": {"connect_timeout": 5, "application_name": f"weir-{name}"},
    }


DATABASE_LOGIN = ENV.database_login
DATABASES = {"default": _login(ENV.database_login), "ops": _login("ops")}
DATABASE_ROUTERS = ["tenants.scope.ScopeRouter"]

# Isolation classes of tables that are not ours (tenants/rls.py).
RLS_CLASSES = {
    "account": "identity",
    "admin": "identity",
    "auth": "reference",
    "contenttypes": "reference",
    "django_celery_results": "system",
    "mfa": "identity",
    "sessions": "identity",
    "usersessions": "identity",
}

# --- Redis, Celery ------------------------------------------------------------------------------------------------------
REDIS_URL = ENV.redis_url
CACHES = {
    "default": {
        "BACKEND": "config.cache.SteadyRedisCache",  # counts of sign-ins: never open, in-process without Redis
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "weir",
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
    }
}
CELERY_BROKER_URL = ENV.broker_url

# --- People -------------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_RESET_TIMEOUT = 3600
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/app/"
LOGOUT_REDIRECT_URL = "/accounts/login/"
SIGNUP = ENV.signup
ACCOUNT_ADAPTER = "tenants.web.accounts.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_RESEND = True
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "Weir: "
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_SESSION_REMEMBER = None
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 15 * 60
ACCOUNT_FORMS = {
    "signup": "tenants.web.account_forms.SignUpForm",
    "add_email": "tenants.web.account_forms.ChangeEmailForm",
    "change_password": "tenants.web.account_forms.ChangePasswordForm",
    "set_password": "tenants.web.account_forms.SetPasswordForm",
    "reset_password": "tenants.web.account_forms.ResetPasswordForm",
    "reset_password_from_key": "tenants.web.account_forms.ResetPasswordKeyForm",
    "reauthenticate": "tenants.web.account_forms.ReauthenticateForm",
    "confirm_email_verification_code": "tenants.web.account_forms.EmailCodeForm",
}
# Per address of the caller (ip), per person (user), per e-mail address (key); each entry is attempts/time.
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    "login_failed": "10/m/ip,5/5m/key",
    "signup": "5/m/ip,30/h/ip",
    "confirm_email": "1/10s/key,10/h/key,30/h/ip",
    "reset_password": "5/m/ip,3/10m/key",
    "reset_password_from_key": "10/m/ip",
    "reauthenticate": "10/m/user",
}
MFA_ADAPTER = "config.second_factors.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Weir"
MFA_TOTP_TOLERANCE = 1  # a clock that is half a minute off
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not HARDENED  # http://localhost
MFA_FORMS = {
    "authenticate": "tenants.web.account_forms.CodeForm",
    "reauthenticate": "tenants.web.account_forms.ConfirmByCodeForm",
    "activate_totp": "tenants.web.account_forms.ActivateAppForm",
    "add_webauthn": "tenants.web.account_forms.AddPasskeyForm",
}
STAFF_SECOND_FACTOR = HARDENED
# Django would keep them in a cookie of their own, whose name it does not let us choose.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_SERIALIZER = "config.sessions.SealedSerializer"
SESSION_COOKIE_NAME = "__Host-weir_session" if HARDENED else "weir_session"
CSRF_COOKIE_NAME = "__Host-weir_csrf" if HARDENED else "weir_csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HARDENED
SECURE_HSTS_SECONDS = 31_536_000 if HARDENED else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HARDENED
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if ENV.trusted_proxies else None
CSRF_TRUSTED_ORIGINS = [BASE_URL] if BASE_URL else []
TRUSTED_PROXIES = ENV.trusted_proxies
UNKNOWN_CALLERS_PER_MINUTE = ENV.unknown_callers_per_minute
RATELIMIT_IP_META_KEY = "config.unknown_callers.address_of"

# --- Static files and uploads -------------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "templates" / "static"]
MEDIA_ROOT = DATA_DIR / "files"
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(MEDIA_ROOT)},
    },
    # Compressing takes half a minute; a loopback does not need it.
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if HARDENED
        else "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    },
}
FILE_UPLOAD_HANDLERS = ["workflows.upload_handler.BoundedUploadHandler"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024
UPLOAD_MAX_BYTES = 50 * 1024 * 1024
UPLOAD_MAX_ROWS = 100_000
UPLOADS_MAX_BYTES = 20 * 1024**3
"""Of a tenant's files together, until its retention deletes them."""

# --- API ----------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tenants.api.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["tenants.api.authentication.HasPermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_THROTTLE_CLASSES": ["billing.api.throttles.PlanThrottle"],
    "DEFAULT_PARSER_CLASSES": ["tenants.api.parsers.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "tenants.api.negotiation.OneFormat",
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "config.problems.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Weir API",
    "DESCRIPTION": API_DESCRIPTION,
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.api_schema.complete",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "RunStatus": "workflows.states.RunStatus",
        "RecordStatus": "workflows.states.RecordStatus",
        "StepStatus": "workflows.states.StepStatus",
        "ConnectionStatus": "integrations.models.Connection.Status",
        "ConnectionMode": "integrations.models.Connection.Mode",
        "KeyStatus": "tenants.models.ApiKey.Status",
        "KeyMode": "tenants.api.serializers.MODES",
        "SuppressionKind": "integrations.suppression_keys.KINDS",
        "EndpointKind": "integrations.models.WebhookEndpoint.Kind",
        "EndpointStatus": "integrations.models.WebhookEndpoint.Status",
        "DeliveryStatus": "integrations.models.WebhookDelivery.Status",
        "EventName": "integrations.api.webhook_serializers.EVENT_NAMES",
    },
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
}

# --- Vendors ------------------------------------------------------------------------------------------------------------
VAULT_KEYS = ENV.vault_keys
VAULT_KEYS_AWS_SECRET = ENV.vault_keys_aws_secret
SANDBOX_URL = ENV.sandbox_url
PROVIDER_BASE_URLS = ENV.provider_base_urls
# Whether tenants' webhooks may go to this machine.
OWN_NETWORKS = ENV.own_networks
WEBHOOKS_TO_LOOPBACK = ENV.webhooks_to_loopback

# --- Stripe -------------------------------------------------------------------------------------------------------------
STRIPE_SECRET_KEY = ENV.stripe_secret_key
STRIPE_WEBHOOK_SECRET = ENV.stripe_webhook_secret
STRIPE_API_BASE = ENV.stripe_api_base
BILLING_GRACE_DAYS = ENV.billing_grace_days

# --- Mail ---------------------------------------------------------------------------------------------------------------
_mail = environ.Env.email_url_config(ENV.email_url)
EMAIL_BACKEND = _mail["EMAIL_BACKEND"]
EMAIL_HOST, EMAIL_PORT = _mail["EMAIL_HOST"] or "", _mail["EMAIL_PORT"] or 25
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["EMAIL_HOST_USER"] or "", _mail["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.get("EMAIL_USE_TLS", False), _mail.get("EMAIL_USE_SSL", False)
# environ takes filemail:///folder for a relative path, as no other address with three slashes is.
EMAIL_FILE_PATH = "/" + _mail["EMAIL_FILE_PATH"].lstrip("/")
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENV.email_from

# --- Headers ------------------------------------------------------------------------------------------------------------
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
# Pages of libraries, by path: what they need beyond that.
_STRIPE_PAGES = ["https://checkout.stripe.com", "https://billing.stripe.com"]
if not ENV.hardened and STRIPE_API_BASE.startswith("http://"):  # the sandbox's own pages
    _STRIPE_PAGES = ["/".join(STRIPE_API_BASE.split("/")[:3])]
CONTENT_POLICY_OF = {
    "/app/billing/": {"form-action": _STRIPE_PAGES},
    "/admin/": {"script-src": ["'unsafe-eval'"], "style-src": ["'unsafe-inline'"]},
    "/api/docs/reference/": {"style-src": ["'unsafe-inline'"]},
}

# Other origins' pages call the API only where they are named; its keys go in headers, so no cookie ever comes along.
CORS_ALLOWED_ORIGINS = ENV.cors_origins
CORS_URLS_REGEX = r"^/api/v1/"
CORS_ALLOW_METHODS = ["GET", "POST", "PATCH", "DELETE"]
CORS_ALLOW_HEADERS = ["authorization", "content-type", "idempotency-key", "x-api-key", "x-request-id"]
CORS_EXPOSE_HEADERS = [
    "Content-Disposition", "Deprecation", "Idempotency-Replayed", "Link", "RateLimit", "RateLimit-Policy",
    "Retry-After", "Sunset", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-Request-Id",
]  # fmt: skip
if CORS_ALLOWED_ORIGINS:
    MIDDLEWARE.insert(1, "corsheaders.middleware.CorsMiddleware")

# --- Logs, errors, metrics ----------------------------------------------------------------------------------------------
LOGGING = logging_config(level=ENV.log_level)
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.debug_page.MaskedReport"
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_CELERY_TASK_START_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_CELERY_TASK_SUCCESS_LOG_LEVEL = logging.DEBUG
SENTRY_DSN = ENV.sentry_dsn
METRICS_TOKEN = ENV.metrics_token
