# /// plugin
# id = "currency"
# name = "Currencies"
# version = "1.0.0"
# description = "Knows what currencies are worth."
# type = "integration"
# entry_point = ":Currency"
#
# [permissions]
# network = ["https://rates.example.com"]
# secrets = ["RATES_KEY"]
# config = ["base"]
#
# [config]
# base = "EUR"
#
# [config_schema.properties]
# base = { type = "string", pattern = "^[A-Z]{3}$" }
# ///

import json

from agentrail import ToolError, tool
from agentrail.package import PluginContext


class Currency:
    def __init__(self, context: PluginContext) -> None:
        self.context = context
        self.tools = [tool(self.rate)]

    async def rate(self, currency: str) -> float:
        """Tell how much of a currency one unit of the base currency buys.

        Args:
            currency: three letters, as USD.
        """
        kept = await self.context.state.get(currency)
        if kept is None:
            kept = json.dumps(await self.asked(currency)).encode()
            await self.context.state.put(currency, kept)
        return float(json.loads(kept))

    async def asked(self, currency: str) -> float:
        base = self.context.get_config("base")
        key = self.context.secret("RATES_KEY")
        answer = await self.context.http.get(
            f"https://rates.example.com/{base}", headers={"authorization": f"Bearer {key}"}
        )
        if answer.is_success and currency in answer.json():
            return float(answer.json()[currency])
        raise ToolError(f"nobody knows the rate of {currency}")
