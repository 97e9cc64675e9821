"""Presence penalty: off the logit of what was said already, once for each token; here and at a server's door."""

import numpy as np
import pytest
import torch

from bactrian.generate.chat_request import ChatReply, ChatRequest
from bactrian.generate.chat_server import Endpoint, ServerResponder
from bactrian.generate.decode_kernels import kernels
from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.generate.row import Row
from bactrian.model import attention
from bactrian.model.language_model import LanguageModel
from tests.generate.chat_server import completion, serving
from tests.model.tiny import write_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return LanguageModel.load(write_tiny(tmp_path_factory.mktemp("model")))


def next_logits(model: LanguageModel, ids: list[int]) -> np.ndarray:
    """By transformers' own attention."""
    model.network.set_attn_implementation("eager")
    with torch.no_grad():
        found: np.ndarray = model.network(torch.tensor([ids])).logits[0, -1].float().numpy()
    model.network.set_attn_implementation(attention.IMPLEMENTATION)
    return found


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("penalty", [2.0, 0.7, -1.0])
def test_greedy_tokens_are_the_argmax_of_penalised_logits(model: LanguageModel, penalty: float, native: bool) -> None:
    if native and kernels() is None:
        pytest.skip("no C compiler on this machine: there are no kernels to test")
    prompt = (5, 6, 7, 8)
    asked = Request(prompt, max_new_tokens=24, temperature=0.0, presence_penalty=penalty)
    [[found]] = LocalEngine(model, native=native).generate([asked])
    said: list[int] = []
    for token, logprob in zip(found.ids, found.logprobs, strict=True):
        logits = next_logits(model, [*prompt, *said])
        logits[sorted(set(said))] -= penalty  # once, however often a token was said; the prompt's are left alone
        assert token == int(logits.argmax())
        assert logprob == pytest.approx(float(logits.max() - np.log(np.exp(logits).sum())), abs=2e-4)
        said.append(token)
    plain = LocalEngine(model, native=native).generate([Request(prompt, max_new_tokens=24, temperature=0.0)])[0][0]
    assert plain.ids != found.ids, "it makes a difference here"


def test_it_is_each_row_s_own_and_neighbours_do_not_feel_it(model: LanguageModel) -> None:
    engine = LocalEngine(model)
    asked = [Request((5, 6, 7), seed=n, max_new_tokens=16, presence_penalty=p) for n in range(4) for p in (0.0, 2.0)]
    together = engine.generate(asked)
    assert [group[0].ids for group in together] == [engine.generate([each])[0][0].ids for each in asked]
    assert together[0][0].ids == engine.generate([Request((5, 6, 7), seed=0, max_new_tokens=16)])[0][0].ids


def test_a_token_that_was_said_twice_is_taxed_once(model: LanguageModel) -> None:
    row = Row(0, 0, Request((5,), max_new_tokens=9, temperature=0.0, presence_penalty=2.0))
    row.ids = [11, 12, 11, 11]
    logits = torch.zeros(1, model.network.config.vocab_size)
    logits[0, 11] = 1.9
    LocalEngine(model)._sample([row], logits)
    assert logits[0, 11].item() == pytest.approx(-0.1) and logits[0, 12].item() == -2.0
    assert int((logits != 0).sum()) == 2 and row.ids[-1] not in (11, 12)


@pytest.mark.parametrize("penalty", [2.1, -3.0])
def test_out_of_range_is_refused(penalty: float) -> None:
    with pytest.raises(ValueError, match="presence_penalty"):
        Request((1,), presence_penalty=penalty)


def test_a_server_is_told_and_only_where_there_is_something_to_tell() -> None:
    found: dict[int, ChatReply] = {}
    with serving(lambda handler, content, nth: handler.give(200, completion("yes"))) as (url, handler):
        asked = [ChatRequest(({"role": "user", "content": f"{p}"},), "x", presence_penalty=p) for p in (0.0, 1.5)]
        ServerResponder(Endpoint(url, "m", concurrency=1)).answer(asked, found.__setitem__)
    assert [body.get("presence_penalty") for body in handler.bodies] == [None, 1.5]
