import re

import numpy as np

from benchmarks.loopback import LoopbackServer
from benchmarks.searching import Bench, every_allocation
from benchmarks.through_http import _Replies
from pipelines import Module, Pipeline
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model


def test_every_pair_of_models_scores_as_recorded() -> None:
    scores = np.random.default_rng(0).integers(2, size=(2, 2, 6)).astype(float)
    rows = [{"question": f"Question {n}?", "answer": f"right {n}"} for n in range(6)]
    modules = [Module("answer", "question -> draft"), Module("critic", "question, draft -> answer")]
    with LoopbackServer(reply=_Replies(scores)) as server:
        models = [
            Model(
                f"openai/model-{n}",
                label=str(n),
                api_base=server.url,
                input_usd_per_million=1,
                output_usd_per_million=1,
            )
            for n in range(2)
        ]
        state = Bench(Pipeline("pair", modules), rows, models, Gateway(cache=None)).state("all")
        for config in every_allocation(state):
            (answer,), (critic,) = (config.allocation[m] for m in ("answer", "critic"))
            for index, score in state.evaluator.evaluate(config, state.examples).scores.items():
                question = int(re.findall(r"\d+", state.evaluator.inputs(index)["question"])[0])
                assert score == scores[int(answer), int(critic), question]
        assert server.requests == 2 * 6 + 4 * 6
