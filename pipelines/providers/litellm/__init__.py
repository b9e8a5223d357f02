"""The provider behind the gateway: litellm, imported with the first call. See `Provider`."""

from pipelines.providers.litellm.prices import price_of
from pipelines.providers.litellm.transport import send

__all__ = ["price_of", "send"]
