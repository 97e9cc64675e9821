"""A cache in pages: the answers are those of any other batch, and no page is held that nobody needs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from bactrian.generate.decode_step import DecodeStep, forward
from bactrian.generate.engine import Completion, Continuation, Request
from bactrian.generate.local import LocalEngine
from bactrian.generate.paged import PagedBatch
from bactrian.generate.pages import pages_for
from bactrian.model.language_model import LanguageModel
from bactrian.model.paged_attention import PAGE, gap
from tests.model.tiny import write_tiny

CONTEXT = 1024


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """Of grouped queries; with and without a sliding window."""
    return LanguageModel.load(write_tiny(tmp_path_factory.mktemp("model"), request.param, context=CONTEXT))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return LanguageModel.load(write_tiny(tmp_path_factory.mktemp("llama"), context=CONTEXT))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[PagedBatch]:
    """Those that engines make."""
    made: list[PagedBatch] = []
    plain = PagedBatch.__init__

    def noted(self: PagedBatch, *given: Any) -> None:
        plain(self, *given)
        made.append(self)

    monkeypatch.setattr(PagedBatch, "__init__", noted)
    return made


def prompt(length: int, first: int = 5) -> tuple[int, ...]:
    return tuple(3 + (first + 7 * i + i * i) % 25 for i in range(length))


def ragged(temperature: float = 0.0) -> list[Request]:
    """Prompts and answers of all lengths, whole pages among them."""
    lengths = ((2 * PAGE, 3), (150, 90), (PAGE - 1, 40), (7, 2), (1, 100), (PAGE + 1, 70), (300, 5))
    return [
        Request(prompt(n, i), n=1 + i % 3, seed=i, max_new_tokens=new, temperature=temperature)
        for i, (n, new) in enumerate(lengths)
    ]


def unending(model: LanguageModel, native: bool = False, **how: Any) -> LocalEngine:
    """An engine whose answers have the length that was asked, by the paged batch if not by kernels in C."""
    engine = LocalEngine(model, native=native, **how)
    engine.ends = frozenset()
    return engine


def same(found: list[list[Completion]], expected: list[list[Completion]]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert [c.ids for c in one] == [c.ids for c in other]
        for a, b in zip(one, other, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=2e-5)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_are_the_other_batch_s_and_memory_is_what_rows_need(
    model: LanguageModel, batches: list[PagedBatch], temperature: float
) -> None:
    asked = ragged(temperature)
    expected = unending(model, native=True).generate(asked)
    same(unending(model).generate(asked), expected)
    (batch,) = batches
    rows, longest = sum(r.n for r in asked), max(len(r.prompt) + r.max_new_tokens for r in asked)
    assert batch.pages.most_held <= sum(
        pages_for(len(r.prompt)) + r.n * pages_for(r.max_new_tokens + PAGE - 1) for r in asked
    )
    assert 2 * batch.pages.most_held * PAGE < rows * longest  # what one contiguous cache would take
    assert len(batch.pages.free) == batch.pages.count and not batch.pages.holders.any()  # all were given back


def test_one_prompt_is_stored_once(llama: LanguageModel, batches: list[PagedBatch]) -> None:
    long = 5 * PAGE + 10
    unending(llama).generate([Request(prompt(long), n=8, seed=1, max_new_tokens=20)])
    assert batches[0].pages.most_held == 5 + 8  # its whole pages once; of the last one a copy to each but the last
    unending(llama).generate([Request(prompt(long), n=8, seed=1, max_new_tokens=1)])
    assert batches[1].pages.most_held == 6  # nothing is written after it
    begins = prompt(2 * PAGE + 5)
    asked = [Request((*begins, i, *prompt(9)), seed=i, max_new_tokens=4) for i in range(3, 9)]
    same(unending(llama).generate(asked), [unending(llama, native=True).generate([each])[0] for each in asked])
    assert batches[2].pages.most_held == 2 + 6  # what all prompts begin with, too


def test_rows_that_find_no_room_come_back(model: LanguageModel, batches: list[PagedBatch]) -> None:
    asked = [Request(prompt(50 + i, i), n=1 + i % 2, seed=i, max_new_tokens=100, temperature=i % 2) for i in range(6)]
    free, tight = unending(model), unending(model, cache_tokens=12 * PAGE)
    expected = free.generate(asked)
    same(tight.generate(asked), expected)
    assert batches[1].pages.most_held <= batches[1].limit == batches[1].pages.count == 12
    assert tight.forwarded > free.forwarded  # some were sent away and forwarded anew


def test_rows_may_go_on_beyond_what_was_asked(llama: LanguageModel, batches: list[PagedBatch]) -> None:
    more = prompt(150, 3)  # more than a step's worth

    def generate(engine: LocalEngine) -> list[list[Completion]]:
        times: dict[tuple[int, int], int] = {}

        def on_finish(request: int, sample: int, completion: Completion) -> Continuation | None:
            times[request, sample] = times.get((request, sample), 0) + 1
            return Continuation(more, 20, drop=sample) if times[request, sample] < 3 else None

        asked = [Request(prompt(n), n=3, seed=n, max_new_tokens=5) for n in (10, PAGE - 2)]
        return engine.generate(asked, on_finish=on_finish)

    expected = generate(unending(llama, native=True))
    same(generate(unending(llama)), expected)
    wide, start = batches.pop(), pages_for(10 + 5)
    assert start * 6 < wide.pages.most_held <= wide.pages.count <= wide.limit
    same(generate(unending(llama, cache_tokens=20 * PAGE)), expected)
    assert batches.pop().pages.count == 20


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("heads", [(4, 2, 16), (9, 3, 16), (4, 4, 8)])
@pytest.mark.parametrize("window", [None, 5, PAGE + 7])
def test_pages_are_read_where_they_lie_as_when_gathered(heads: tuple[int, int, int], window: int | None) -> None:
    assert gap(torch.device("cpu"), torch.float32, heads, window) <= 1e-5


def compiled(model: LanguageModel, backend: Any) -> LocalEngine:
    engine = unending(model, rows=64)
    engine.step = DecodeStep(model, compiled=True, backend=backend)
    return engine


@pytest.fixture
def traceable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without kernels in C, which a GPU has not either: they cannot be traced."""
    monkeypatch.setattr("bactrian.model.fused.usable", lambda x: False)
    torch._dynamo.reset()


@pytest.mark.usefixtures("traceable")
def test_a_compiled_step_says_the_same_and_is_compiled_seldom(llama: LanguageModel) -> None:
    asked = [Request(prompt(20 + 9 * i), n=3, seed=i, max_new_tokens=3 + 3 * i, temperature=i % 2) for i in range(4)]
    expected = unending(llama, native=True).generate(asked)
    counter = CompileCounterWithBackend("aot_eager")
    engine = compiled(llama, counter)
    for _ in range(2):
        same(engine.generate(asked), expected)
        assert engine.step.compiled is not None
        assert counter.frame_count == 2  # for 32 rows and for 8, however many of them there are


@pytest.mark.usefixtures("traceable")
def test_pages_are_read_where_they_lie_within_a_compiled_step(tmp_path: Path) -> None:
    model = LanguageModel.load(write_tiny(tmp_path / "m", "gemma3"))  # layers with and without a window
    table = torch.tensor([[3, 1, 5, 0], [3, 4, 0, 0], [2, 0, 0, 0]])
    places = torch.tensor([2 * PAGE + 9, PAGE, 20])
    slots = table.gather(1, places[:, None] // PAGE)[:, 0] * PAGE + places % PAGE
    step = torch.cat([torch.tensor([[5], [6], [7]]), places[:, None], slots[:, None], table], 1)
    made = torch.Generator().manual_seed(0)
    layers = [torch.randn(2, 6 * PAGE, 8, generator=made) for _ in range(6)]
    with torch.no_grad():
        expected = forward(model.network, step, layers[:3], layers[3:], "gathered")
        compiled = torch.compile(forward, fullgraph=True, dynamic=False, backend="aot_eager")
        assert torch.allclose(compiled(model.network, step, layers[:3], layers[3:], "flex"), expected, atol=1e-5)


def breaks(graph: Any, inputs: Any) -> Callable[..., Any]:
    raise RuntimeError("no such compiler\nand much more about it")


def lies(graph: Any, inputs: Any) -> Callable[..., Any]:
    return lambda *given: [1.1 * each if each.is_floating_point() else each for each in graph(*given)]


@pytest.mark.usefixtures("traceable")
@pytest.mark.parametrize(
    ("backend", "said"), [(breaks, "no such compiler"), (lies, "differ from the model's own by 0.1")]
)
def test_what_cannot_be_compiled_or_differs_is_left_alone(
    llama: LanguageModel, backend: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ragged()[:3]
    engine = compiled(llama, backend)
    same(engine.generate(asked), unending(llama).generate(asked))
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0] and "without a compiled step" in lines[0]
    assert engine.step.compiled is None


def test_a_folder_s_setting_reaches_the_engine(tmp_path: Path) -> None:
    from bactrian.generate.engines import open_engine
    from bactrian.store.hardware import Hardware, HardwareSettings

    folder = write_tiny(tmp_path / "m")
    assert HardwareSettings().decide().compile is None
    for asked in (None, True, False):
        engine = open_engine(folder, Hardware(compile=asked))
        assert isinstance(engine, LocalEngine) and engine.compiled == bool(asked)
