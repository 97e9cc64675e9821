"""Rows of requests: to pretrain on, to be tuned on, to ask about, and to simulate conversations with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Literal

from bactrian.data.io.problem_rows import Row, Split, distinct, problem, question_hash
from bactrian.data.synth.asking.questions import HIGH, LOW, MIDDLE, QuestionPlan, best_plan, drawn_plan, written
from bactrian.data.synth.asking.requests import UnderspecifiedRequest
from bactrian.data.synth.procedural import LICENSE

RequestForm = Literal["problem", "conversation", "text"]
SOURCE = "bactrian/requests"
ANY = {HIGH: 1.0, MIDDLE: 1.0, LOW: 1.0}


def requests(seed: int, count: int, form: RequestForm, said: tuple[int, int], split: Split) -> Iterator[Row]:
    """Requests, no two that say the same. Each but those that leave nothing open.

    problem: to be asked about; its solution is as good a question as there is. conversation: with the question of
    somebody who asks neither well nor badly. text: with a question of any kind, to pretrain on.

    Raises:
        BactrianError: more are asked for than there are.
    """

    def draw(random: Random) -> Row:
        request = UnderspecifiedRequest.drawn(random, said)
        while request.table().decided:
            request = UnderspecifiedRequest.drawn(random, said)
        return request_row(request, best_plan(request)) | {"state": random.randrange(2**31)}

    for row in distinct("requests", seed, count, split, draw):
        request, random = UnderspecifiedRequest.read(row["case"]), Random(row.pop("state"))
        if form == "problem":
            yield row
        elif form == "text":
            text = f"{request.text()}\n{written(drawn_plan(request, random, ANY), request)}"
            yield {"id": row["id"], "text": text, "source": SOURCE, "license": LICENSE}
        else:
            yield asked_row(request, drawn_plan(request, random))


def request_row(request: UnderspecifiedRequest, plan: QuestionPlan) -> Row:
    """A problem row; `case` says how the request is meant, for the simulator."""
    truth = json.dumps(request.truth())
    return problem(request.text(), written(plan, request), truth, "asking", SOURCE, LICENSE) | {"case": request.json()}


def asked_row(request: UnderspecifiedRequest, plan: QuestionPlan) -> Row:
    """A conversation row: the request and a question; `plan` is what the question was written from."""
    said = [{"role": "user", "content": request.text()}, {"role": "assistant", "content": written(plan, request)}]
    return {
        "id": question_hash(request.text()),
        "messages": said,
        "case": request.json(),
        "plan": plan.json(),
        "source": SOURCE,
        "license": LICENSE,
    }
