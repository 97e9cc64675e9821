"""The engine on transformers: its answers are the model's own, and nobody's neighbours change them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from bactrian.errors import BactrianError
from bactrian.generate.decode_kernels import kernels
from bactrian.generate.decoder import FastDecoder, UnsupportedModel, _say_once
from bactrian.generate.engine import Completion, Continuation, Request
from bactrian.generate.local import LocalEngine
from bactrian.generate.sampling import choose, uniform_stream
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Group, plant
from bactrian.train.preference import answer_tokens
from tests.model.tiny import ARCHITECTURES, write_tiny

PROMPTS = [(5, 6, 7, 8, 9, 10, 11), (5, 6, 7, 8, 12), (13,), (5, 6, 7, 8, 9, 14, 15, 16, 17)]


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return LanguageModel.load(write_tiny(tmp_path_factory.mktemp("model"), request.param))


@pytest.fixture(params=["native", "paged"])
def native(request: pytest.FixtureRequest) -> bool:
    """With the decoder of our own, and with transformers' forward."""
    if request.param == "native" and kernels() is None:
        pytest.skip("no C compiler on this machine: there are no kernels to test")
    return bool(request.param == "native")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return LanguageModel.load(write_tiny(tmp_path_factory.mktemp("llama")))


def requests(temperature: float, n: int, new: int = 10) -> list[Request]:
    return [
        Request(prompt, n=n, seed=7 + i, max_new_tokens=new + i, temperature=temperature)
        for i, prompt in enumerate(PROMPTS)
    ]


@pytest.fixture(scope="module")
def greedy(model: LanguageModel) -> list[tuple[int, ...]]:
    """transformers' own greedy answers."""
    from bactrian.model import attention

    model.network.set_attn_implementation("eager")
    answers = [
        model.network.generate(
            torch.tensor([asked.prompt]),
            max_new_tokens=asked.max_new_tokens,
            do_sample=False,
            eos_token_id=list(model.template.end_ids),
            pad_token_id=0,
        )[0, len(asked.prompt) :]
        for asked in requests(0, 1, new=14)
    ]
    model.network.set_attn_implementation(attention.IMPLEMENTATION)
    return [tuple(answer.tolist()) for answer in answers]


def test_greedy_equals_transformers_generate(model: LanguageModel, greedy: list[tuple[int, ...]], native: bool) -> None:
    engine = LocalEngine(model, native=native)
    assert (engine.decoder is not None) == native
    assert [answer.ids for (answer,) in engine.generate(requests(0, 1, new=14))] == greedy


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(
    model: LanguageModel, native: bool, temperature: float
) -> None:
    asked = requests(temperature, 3, new=7)
    engine = LocalEngine(model, native=native)
    together = engine.generate(asked)
    few = LocalEngine(model, rows=3, native=native).generate(asked)
    alone = [engine.generate([r])[0] for r in asked]
    assert [[c.ids for c in g] for g in together] == [[c.ids for c in g] for g in alone]
    assert [[c.ids for c in g] for g in together] == [[c.ids for c in g] for g in few]


def test_the_sampler_s_logprobs_are_the_trainer_s(model: LanguageModel, native: bool) -> None:
    for temperature in (1.0, 0.7):
        groups = LocalEngine(model, native=native).generate(requests(temperature, 6))
        forest, spans = plant([Group(p, tuple(c.ids for c in g)) for p, g in zip(PROMPTS, groups, strict=True)])
        where, _ = answer_tokens(spans)
        with torch.no_grad():
            trainer = model.logprobs(forest, where, temperature)
        sampler = torch.tensor([x for g in groups for c in g for x in c.logprobs])
        assert float((trainer - sampler).abs().max()) <= 1e-5


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_in_bfloat16_the_gap_is_bounded(tmp_path: Path, native: bool, architecture: str) -> None:
    model = LanguageModel.load(write_tiny(tmp_path / "m", architecture), "bfloat16")
    engine = LocalEngine(model, native=native)
    assert (engine.decoder is not None) == native
    groups = engine.generate(requests(1.0, 6))
    forest, spans = plant([Group(p, tuple(c.ids for c in g)) for p, g in zip(PROMPTS, groups, strict=True)])
    with torch.no_grad():
        trainer = model.logprobs(forest, answer_tokens(spans)[0])
    gap = (trainer - torch.tensor([x for g in groups for c in g for x in c.logprobs])).abs()
    assert float(gap.mean()) <= 0.05 and float(gap.max()) <= 0.5  # the mean is what stops a run of RL, by default


def together(model: LanguageModel, prompt: tuple[int, ...], ids: tuple[int, ...]) -> torch.Tensor:
    """The trainer's log-probs of ids after prompt."""
    forest, spans = plant([Group(prompt, (ids,))])
    with torch.no_grad():
        return model.logprobs(forest, answer_tokens(spans)[0])


def test_a_completion_goes_on_from_its_cache(model: LanguageModel, native: bool) -> None:
    forced = (20, 21, 22, 23)
    again: dict[tuple[int, int], int] = {}

    def on_finish(request: int, sample: int, completion: Completion) -> Continuation | None:
        again[request, sample] = again.get((request, sample), 0) + 1
        if again[request, sample] > (request + sample) % 3:  # 0, 1 or 2 times
            return None
        return Continuation(forced, max_new_tokens=6 + request)

    engine = LocalEngine(model, native=native)
    assert engine.decoder is not None or not native
    groups = engine.generate(requests(1.0, 3, new=10), on_finish=on_finish)
    sampled = 0
    for request, group in enumerate(groups):
        for sample, c in enumerate(group):
            times = (request + sample) % 3
            assert len(c.forced) == times == again[request, sample] - 1
            assert all(c.ids[slice(*span)] == forced for span in c.forced)
            trainer = together(model, PROMPTS[request], c.ids)
            drawn = torch.ones(len(c.ids), dtype=torch.bool)
            for span in c.forced:
                drawn[slice(*span)] = False
            assert float((trainer - torch.tensor(c.logprobs))[drawn].abs().max()) <= 1e-5
            sampled += len(c.ids)
    # every token is forwarded once, but the last of each completion, which nothing follows; prompts once per group
    assert engine.forwarded == sum(map(len, PROMPTS)) + sampled - sum(map(len, groups))


def test_going_on_beyond_the_context_is_refused(llama: LanguageModel) -> None:
    with pytest.raises(BactrianError, match=r"sample 0 going on.*256"):
        LocalEngine(llama).generate(requests(1.0, 1), on_finish=lambda *_: Continuation((5,) * 100, 150))


def test_an_answer_that_goes_on_is_the_answer_to_the_longer_prompt(model: LanguageModel, native: bool) -> None:
    engine = LocalEngine(model, native=native)
    first = engine.generate(requests(0, 1))
    forced = (20, 21, 22)
    asked: set[int] = set()

    def once(request: int, sample: int, completion: Completion) -> Continuation | None:
        again = request in asked
        asked.add(request)
        return None if again else Continuation(forced, 8)

    onward = engine.generate(requests(0, 1), on_finish=once)
    for prompt, (short,), (long,) in zip(PROMPTS, first, onward, strict=True):
        known = (*prompt, *short.ids, *forced)
        ((fresh,),) = engine.generate([Request(known, temperature=0, max_new_tokens=8)])
        assert long.ids == (*short.ids, *forced, *fresh.ids)


def test_the_next_turn_s_prompt_is_not_forwarded_again(llama: LanguageModel, native: bool) -> None:
    engine = LocalEngine(llama, native=native)
    first = Request(PROMPTS[0], seed=5, max_new_tokens=12)
    ((answer,),) = LocalEngine(llama, native=native).generate([first])
    "".join(engine.stream(first))
    assert engine.forwarded == len(PROMPTS[0]) + len(answer.ids) - 1
    turn = Request((*PROMPTS[0], *answer.ids, 20, 21, 22), seed=6, max_new_tokens=12)
    ((fresh,),) = LocalEngine(llama, native=native).generate([turn])
    before = engine.forwarded
    assert "".join(engine.stream(turn)) == fresh.text
    assert engine.forwarded - before == 4 + len(fresh.ids) - 1
    elsewhere = Request(PROMPTS[3], seed=7, max_new_tokens=12)
    ((fresh,),) = LocalEngine(llama, native=native).generate([elsewhere])
    assert "".join(engine.stream(elsewhere)) == fresh.text


def test_every_named_architecture_has_the_fast_decoder(model: LanguageModel) -> None:
    if kernels() is None:
        pytest.skip("no C compiler on this machine")
    assert FastDecoder.of(model) is not None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: m.network.base_model.layers[1].register_module("extra", torch.nn.Identity()),
        lambda m: m.network.base_model.layers[2].self_attn.register_forward_hook(lambda _m, _i, o: (2 * o[0], o[1])),
    ],
)
def test_what_the_fast_decoder_does_not_know_it_does_not_serve(
    tmp_path: Path, spoil: Callable[[LanguageModel], object], capsys: pytest.CaptureFixture[str]
) -> None:
    if (kernel := kernels()) is None:
        pytest.skip("no C compiler on this machine")
    model = LanguageModel.load(write_tiny(tmp_path / "m"))
    spoil(model)
    _say_once.cache_clear()
    assert FastDecoder.of(model) is None and FastDecoder.of(model) is None
    assert capsys.readouterr().err.count("llama: no fast decoder; transformers' forward samples instead") == 1
    with pytest.raises(UnsupportedModel), torch.inference_mode(), FastDecoder(model, kernel) as decoder:
        decoder.check()
    assert LocalEngine(model).generate(requests(0, 1))  # transformers' forward serves it


def test_an_error_that_is_a_mistake_is_not_taken_for_an_unsupported_model(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernels() is None:
        pytest.skip("no C compiler on this machine")
    for mistake in (TypeError, AttributeError, RuntimeError, KeyError):

        def wrong(self: FastDecoder, index: int, error: type[Exception] = mistake) -> None:
            raise error("a mistake in this layer")

        monkeypatch.setattr(FastDecoder, "layer", wrong)
        with pytest.raises(mistake, match="a mistake in this layer"):
            FastDecoder.of(llama)


def test_weights_are_read_anew_in_every_call(tmp_path: Path, native: bool) -> None:
    model = LanguageModel.load(write_tiny(tmp_path / "m"))
    engine = LocalEngine(model, native=native)
    before = engine.generate(requests(0, 1))
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    after = engine.generate(requests(0, 1))
    assert after == LocalEngine(model, native=native).generate(requests(0, 1)) != before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_chooses_as_torch_does(dtype: torch.dtype) -> None:
    if (kernel := kernels()) is None:
        pytest.skip("no C compiler on this machine")
    from bactrian.generate.sampling import _choose

    generator = torch.Generator().manual_seed(0)
    for size in (7, 256, 1000, 5003):
        logits = (4 * torch.randn(200, size, generator=generator)).to(dtype)
        logits[:, 3] = -torch.inf
        uniforms = torch.rand(200, dtype=torch.float64, generator=generator)
        uniforms[0] = 0.0
        uniforms[1] = 1 - 2**-53
        for temperature in (0.0, 0.5, 1.0, 2.0):
            t = torch.full((200,), temperature)
            tokens, logprobs = kernel.choose(logits, uniforms, t)
            all_of_them = torch.ones(200), torch.zeros(200, dtype=torch.long)
            expected, expected_logprobs = _choose(logits.float(), uniforms, t, *all_of_them)
            differ = tokens != expected
            assert int(differ[2:].sum()) == 0  # at the two ends rounding may decide
            assert int((tokens == 3).sum()) == 0
            same = ~differ
            assert torch.allclose(logprobs[same], expected_logprobs[same], atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_and_gates_are_torch_s(dtype: torch.dtype) -> None:
    if (kernel := kernels()) is None:
        pytest.skip("no C compiler on this machine")
    generator = torch.Generator().manual_seed(0)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-2, "atol": 1e-2}
    for rows, dim in ((1, 7), (5, 64), (33, 1536)):
        x = (4 * torch.randn(rows, 2 * dim, generator=generator)).to(dtype)
        weight = torch.randn(dim, generator=generator)
        part = x[:, dim:]  # rows that do not lie side by side
        expected = torch.nn.functional.rms_norm(part.float(), (dim,), weight, 1e-6)
        assert torch.allclose(kernel.norm(part, weight, 1e-6).float(), expected, **close)
        gate, up = x.float().chunk(2, dim=-1)
        assert torch.allclose(kernel.gate(x, 0).float(), torch.nn.functional.silu(gate) * up, **close)
        tanh = torch.nn.functional.gelu(gate, approximate="tanh") * up
        assert torch.allclose(kernel.gate(x, 1).float(), tanh, **close)


def test_samples_follow_the_model_s_distribution(llama: LanguageModel, native: bool) -> None:
    n = 4000
    (group,) = LocalEngine(llama, rows=1000, native=native).generate(
        [Request(PROMPTS[0], n=n, seed=3, max_new_tokens=1)]
    )
    with torch.no_grad():
        states = llama.forward(plant([Group(PROMPTS[0], ())])[0])
        probabilities = (states[-1] @ llama.head.T).softmax(-1).double().numpy()
    counts = np.bincount([c.ids[0] for c in group], minlength=len(probabilities))
    common = probabilities * n >= 5
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(probabilities[common], probabilities[~common].sum()) * n
    assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-4


def test_samples_of_a_request_differ_and_are_the_same_again(llama: LanguageModel) -> None:
    asked = requests(1.0, 8)
    once, again = (LocalEngine(llama).generate(asked) for _ in range(2))
    assert once == again
    assert len({c.ids for c in once[0]}) > 4


def test_finish_reasons_and_end_tokens(llama: LanguageModel) -> None:
    answers = [c for g in LocalEngine(llama).generate(requests(1.5, 16, new=30)) for c in g]
    ends = set(llama.template.end_ids)
    assert {c.finish for c in answers} == {"stop", "length"}
    for c in answers:
        assert (c.ids[-1] in ends) == (c.finish == "stop")
        assert not set(c.ids[:-1]) & ends
        assert len(c.ids) == len(c.logprobs)


def test_a_stop_text_ends_an_answer_and_stays_in_it(llama: LanguageModel) -> None:
    free = LocalEngine(llama).generate([Request(PROMPTS[0], n=32, seed=1, max_new_tokens=40)])[0]
    cut = LocalEngine(llama).generate([Request(PROMPTS[0], n=32, seed=1, max_new_tokens=40, stop=("at", "4"))])[0]
    shorter = 0
    for a, b in zip(free, cut, strict=True):
        assert a.ids[: len(b.ids)] == b.ids
        if "at" in a.text or "4" in a.text:
            assert b.finish == "stop"
            assert "at" in b.text or "4" in b.text
            shorter += len(b.ids) < len(a.ids)
        else:
            assert (a.ids, a.text, a.finish) == (b.ids, b.text, b.finish)
            # neighbours left: other matrix shapes, other rounding
            assert b.logprobs == pytest.approx(a.logprobs, abs=1e-5)
    assert shorter > 3


def test_top_k_of_one_is_greedy_and_top_p_keeps_the_nucleus(llama: LanguageModel) -> None:
    greedy = LocalEngine(llama).generate(requests(0, 1))
    only = LocalEngine(llama).generate([replace(r, temperature=1.0, top_k=1) for r in requests(0, 1)])
    assert [g[0].ids for g in greedy] == [g[0].ids for g in only]
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().expand(1000, 4)
    uniforms = torch.tensor(uniform_stream(0, 0, 1000))
    ones = torch.ones(1000)
    tokens, _ = choose(logits, uniforms, ones, 0.7 * ones, torch.zeros(1000, dtype=torch.long))
    assert set(tokens.tolist()) == {0, 1}
    assert 0.57 < (tokens == 0).float().mean() < 0.68  # 0.5 / 0.8


def test_a_stream_says_what_generate_says(llama: LanguageModel) -> None:
    asked = Request(PROMPTS[0], seed=5, max_new_tokens=40)
    ((whole,),) = LocalEngine(llama).generate([asked])
    assert "".join(LocalEngine(llama).stream(asked)) == whole.text


def test_the_weights_version_travels(llama: LanguageModel) -> None:
    engine = LocalEngine(llama)
    engine.version = 3
    assert engine.generate([Request(PROMPTS[0], max_new_tokens=2)])[0][0].version == 3


def test_too_long_for_the_context_is_refused_before_any_work(llama: LanguageModel) -> None:
    with pytest.raises(BactrianError, match=r"300.*256"):
        LocalEngine(llama).generate([Request((5,) * 200, max_new_tokens=100)])


@pytest.mark.parametrize(
    "bad", [{"prompt": ()}, {"n": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"max_new_tokens": 0}]
)
def test_a_bad_request_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"needs|must|range"):
        Request(**{"prompt": (1,), **bad})  # type: ignore[arg-type]


def test_streams_are_independent_and_fixed() -> None:
    a, b, c = uniform_stream(1, 0, 1000), uniform_stream(1, 1, 1000), uniform_stream(2, 0, 1000)
    assert np.array_equal(a, uniform_stream(1, 0, 1000))
    assert np.array_equal(a[:10], uniform_stream(1, 0, 10))
    assert max(abs(np.corrcoef(x, y)[0, 1]) for x, y in ((a, b), (a, c), (b, c))) < 0.15


def test_a_conversation_in_the_terminal(tmp_path: Path) -> None:
    import io

    from bactrian.cli.chat_console import chat

    folder = write_tiny(tmp_path / "m")
    out = io.StringIO()
    chat(folder, max_new_tokens=8, seed=2, source=io.StringIO("the cat\n\n/new\nthe mat\n/quit\nnever\n"), target=out)
    assert out.getvalue().count("\n") >= 2
    assert "\x1b" not in out.getvalue()


def test_a_conversation_may_ask_for_more_than_the_context_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    from bactrian.cli.chat_console import chat

    out = io.StringIO()
    lines = "the cat\n" + "the cat sat on a mat and " * 60 + "\n/quit\n"
    chat(write_tiny(tmp_path / "m"), max_new_tokens=512, source=io.StringIO(lines), target=out)
    assert out.getvalue().strip()
    assert "/new starts over" in capsys.readouterr().err.splitlines()[-1]


def test_completion_is_a_plain_record() -> None:
    assert Completion((1,), "a", (-0.5,), "stop").version == 0
