"""An engine in the same process, without a protocol in between."""

from __future__ import annotations

from deepplan.client.transport import REFUSED, Inputs, Outcome, Status, failed
from deepplan.errors import OverloadedError, ServingError, UnavailableError, UnknownNameError
from deepplan.serving.inference import Engine, ModelMetadata


class InProcessTransport:
    """Requests to `engine`. Raises UnavailableError unless that is ready."""

    def __init__(self, engine: Engine) -> None:
        if not engine.ready:
            raise UnavailableError("the engine is not ready; wait until it is")
        self._engine = engine

    async def metadata(self, model: str) -> ModelMetadata:
        models = self._engine.models
        if model not in models:
            raise UnknownNameError(f"no model {model!r} is served; there are {', '.join(models)}")
        return models[model]

    async def infer(self, model: str, inputs: Inputs) -> Outcome:
        try:
            answer = await self._engine.infer(model, inputs)
        except OverloadedError:
            return REFUSED
        except (ServingError, UnknownNameError) as error:
            return failed(f"{type(error).__name__}: {error}")
        return Outcome(Status.ANSWERED, answer.cold, answer.queue_ms, answer.run_ms)
