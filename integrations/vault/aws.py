"""Master keys out of AWS Secrets Manager. Imported only where WEIR_VAULT_KEYS_AWS_SECRET names a secret.

Region, credentials and (for tests) the endpoint are boto's own affair: AWS_REGION, the instance's or pod's role,
AWS_ENDPOINT_URL_SECRETS_MANAGER.
"""

import json

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from integrations.errors import MasterKeyMissing

_PATIENCE = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"})
FIELD = "WEIR_VAULT_KEYS"


def fetch(name: str) -> str:
    """The text of the secret with this name or ARN; of a JSON object, its field WEIR_VAULT_KEYS.

    Raises MasterKeyMissing saying why AWS did not hand it out, and ValueError when it holds no text.
    """
    try:
        client = boto3.session.Session().client("secretsmanager", config=_PATIENCE)
        text = client.get_secret_value(SecretId=name).get("SecretString")
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise MasterKeyMissing(f"AWS Secrets Manager refused the vault's master keys: {code}.") from None
    except (BotoCoreError, ValueError) as error:
        # The words of these errors are about regions, credentials and endpoints; the answer is not in them.
        raise MasterKeyMissing(
            f"AWS Secrets Manager did not hand out the vault's master keys ({type(error).__name__}): "
            "look at AWS_REGION, the credentials and the network."
        ) from None
    if not text:
        raise ValueError("holds no text")
    return _keys_in(text)


def _keys_in(text: str) -> str:
    if not text.lstrip().startswith("{"):
        return text
    try:
        value = json.loads(text).get(FIELD)
    except ValueError:
        value = None
    if isinstance(value, str):
        return value
    raise ValueError(f"is JSON without a text {FIELD}")
