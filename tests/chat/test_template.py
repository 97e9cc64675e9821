"""Templates that fit, templates that do not and what is said about them, and what goes into the digest."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import SPECIAL, byte_bpe, words
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from bactrian.chat import ChatTemplate, prompt_ids, render, template_for
from bactrian.errors import BactrianError

TALK = [{"role": "user", "content": " Hi "}, {"role": "assistant", "content": " Yes "}]
SYSTEM = {"role": "system", "content": "Be kind."}
HEADER = "{{ '<|im_start|>' + m.role + '\n' }}"
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


def chatml(turn: str = HEADER + "{{ m.content + '<|im_end|>\n' }}", ask: str = ASK) -> str:
    return "{% for m in messages %}" + turn + "{% endfor %}" + ask


def text(template: ChatTemplate, messages: list[Any] = TALK) -> str:
    return str(template.tokenizer.decode(render(messages, template).ids))


# Each breaks one rule, as a template in the wild does.
BROKEN = {
    # "no end token is ever trained" (axolotl#3754)
    chatml(HEADER + "{{ m.content + '\n' }}"): r"turn 3 \(assistant\) does not end in a special token.*'\\n'",
    # Qwen3: an empty thought before the last answer, gone once turns follow
    chatml(
        HEADER
        + "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
        + "{{ m.content + '<|im_end|>\n' }}"
    ): (r"turn 3 \(assistant\) is written differently once other turns follow it"),
    # reasoning taken out of earlier answers
    chatml(HEADER + "{{ (m.content if loop.last else m.content.split('</think>')[-1]) + '<|im_end|>\n' }}"): (
        r"it changes what a message says"
    ),
    # DeepSeek-R1: the prompt opens a thought that the answer does not have
    chatml(ask="{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"): (
        r"turn 3 \(assistant\) does not continue the prompt that the model saw before it"
    ),
    # the generation prompt is not the header
    chatml(
        ask="{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
    ): "does not continue the prompt",
    # no generation prompt at all: the header would be trained
    chatml(
        "{{ '<|im_start|>' + m.content + '<|im_end|>' }}{% if m.role == 'system' %}{{ m.content }}{% endif %}", ""
    ): (r"it writes 2 times the content of turn 1 \(system\)"),
    chatml("{% if m.role != 'system' %}" + HEADER + "{{ m.content + '<|im_end|>\n' }}{% endif %}"): (
        r"it leaves out the content of turn 1 \(system\)"
    ),
    chatml(HEADER + "{% if m.role == 'user' %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}"): (
        r"it leaves out the content of turn \d \((system|assistant)\)"
    ),
    chatml(
        HEADER + "{{ (m.content | upper if m.role == 'user' else m.content) + '<|im_end|>\n' }}"
    ): "leaves out the content",
    chatml(HEADER + "{{ m.content.replace('\t', ' ') + '<|im_end|>\n' }}"): "it changes what a message says",
    chatml(
        HEADER + "{{ m.content.replace(' \n ', '\n') + '<|im_end|>\n' }}"
    ): "changes what the system says beyond trimming",
    chatml(HEADER + "{{ m.content.nothing.more }}"): "it refuses user",
    "{{ bos_token }}{{ bos_token }}" + chatml(): "writes the beginning-of-sequence token twice",
    "{% if %}": "it refuses user",
}


@pytest.mark.parametrize("jinja", BROKEN, ids=range(len(BROKEN)))
def test_broken_templates_are_named_with_what_is_wrong(jinja: str, tiny_bos: PreTrainedTokenizerFast) -> None:
    with pytest.raises(BactrianError, match=re.compile(BROKEN[jinja], re.DOTALL)) as caught:
        ChatTemplate.load(tiny_bos, jinja)
    assert "chat template 'jinja' does not work with the tokenizer" in str(caught.value)


def test_the_error_shows_both_texts(tiny: PreTrainedTokenizerFast) -> None:
    tiny.chat_template = chatml(ask="{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}")
    with pytest.raises(BactrianError) as caught:
        ChatTemplate.load(tiny)
    assert "First difference at character" in str(caught.value)
    assert r"expected '" in str(caught.value) and "<|im_start|>assistant: '" in str(caught.value)
    assert r"<|im_start|>assistant\n" in str(caught.value)
    assert "a named template may fit: tulu" in str(caught.value)


def test_bos_exactly_once(tiny: PreTrainedTokenizerFast, tiny_bos: PreTrainedTokenizerFast) -> None:
    body = text(ChatTemplate.load(tiny, chatml()))
    for jinja in (chatml(), "{{ bos_token }}" + chatml(), "  " + chatml()):
        assert text(ChatTemplate.load(tiny_bos, jinja)).removeprefix("<s>").lstrip() == body
        assert render(TALK, ChatTemplate.load(tiny_bos, jinja)).ids.count(0) == 1
    assert text(ChatTemplate.load(tiny, "{{ bos_token }}" + chatml())) == "<s>" + body


def test_trimming_is_allowed_and_followed(tiny: PreTrainedTokenizerFast) -> None:
    trimming = ChatTemplate.load(tiny, chatml(HEADER + "{{ m.content | trim + '<|im_end|>\n' }}"))
    assert text(trimming) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>"
    user_only = chatml(HEADER + "{{ (m.content.lstrip() if m.role == 'user' else m.content) + '<|im_end|>\n' }}")
    assert (
        text(ChatTemplate.load(tiny, user_only))
        == "<|im_start|>user\nHi <|im_end|>\n<|im_start|>assistant\n Yes <|im_end|>"
    )


def test_a_default_system_turn_and_a_refused_one(tiny: PreTrainedTokenizerFast) -> None:
    default = "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nI am Smol.<|im_end|>\n' }}{% endif %}"
    assert text(ChatTemplate.load(tiny, default + chatml())).startswith(
        "<|im_start|>system\nI am Smol.<|im_end|>\n<|im_start|>"
    )
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    template = ChatTemplate.load(tiny, refusing + chatml())
    assert render(TALK, template).trained == 6
    with pytest.raises(BactrianError, match=r"row 4: chat template 'jinja': it refuses system, user.*not supported"):
        render([SYSTEM, *TALK], template, "row 4")


def test_a_system_turn_inside_the_first_user_turn(tiny: PreTrainedTokenizerFast) -> None:
    gemma = (
        "{% if messages[0].role == 'system' %}"
        "{% set before = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}"
        "{% else %}{% set before = '' %}{% set rest = messages %}{% endif %}{% for m in rest %}"
        "{{ '<|im_start|>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (before if loop.first else '') }}"
        "{{ m.content | trim + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"
    )
    template = ChatTemplate.load(tiny, gemma)
    assert (
        text(template, [SYSTEM, *TALK])
        == "<|im_start|>user\nBe kind.\n\nHi<|im_end|>\n<|im_start|>model\nYes<|im_end|>"
    )


def test_text_between_answer_and_end_token_is_trained(tiny: PreTrainedTokenizerFast) -> None:
    llama2 = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content.strip() + ' </s>' }}"
        "{% else %}{{ '[' + m.content + ']' }}{% endif %}{% endfor %}"
    )
    template = ChatTemplate.load(tiny, llama2)
    rendered = render(TALK, template)
    assert tiny.decode(rendered.ids) == "[ Hi ] Yes </s>"
    assert tiny.decode(rendered.ids[len(prompt_ids(TALK[:1], template)) :]) == " Yes </s>"
    assert all(rendered.weights[len(prompt_ids(TALK[:1], template)) :]) and template.end_ids == (1,)


def test_a_template_whose_text_depends_on_what_is_said_is_refused_for_that_row(tiny: PreTrainedTokenizerFast) -> None:
    moody = chatml(HEADER + "{{ m.content + ('!' if 'please' in m.content else '') + '<|im_end|>\n' }}")
    template = ChatTemplate.load(tiny, moody)
    render(TALK, template)
    with pytest.raises(BactrianError, match="row 9: chat template 'jinja': it changes what a message says"):
        render([{"role": "user", "content": "please"}, *TALK[1:]], template, "row 9")


def test_dates_do_not_change_the_ids(tiny: PreTrainedTokenizerFast) -> None:
    dated = ChatTemplate.load(tiny, "{{ 'Today is ' + strftime_now('%d %b %Y') + '.\n' }}" + chatml())
    assert text(dated).startswith("Today is 01 Jan 2025.\n")


def test_tokens_that_swallow_white_space() -> None:
    special = [AddedToken(token, rstrip=token.startswith("<|"), special=True) for token in SPECIAL]
    tokenizer = byte_bpe(special=special)
    template = ChatTemplate.load(tokenizer, chatml())
    messages = [{"role": "user", "content": "Hi"}, *TALK[1:], {"role": "user", "content": "So"}]
    theirs = tokenizer.apply_chat_template(
        messages, chat_template=template.text, add_generation_prompt=True, return_dict=False
    )
    assert prompt_ids(messages, template) == theirs


def test_sentencepiece_style_tokenizer_puts_no_space_before_an_answer() -> None:
    vocab = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", "▁", "▁Yes", "Yes", *"<|useratinymp>HiY\n"])}
    model = models.BPE(vocab={t: i for i, t in enumerate(dict.fromkeys(vocab))}, merges=[], unk_token="<unk>")
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    template = ChatTemplate.load(tokenizer, "tulu")
    answer = render([TALK[0], {"role": "assistant", "content": "Yes"}], template)
    trained = [tokenizer.convert_ids_to_tokens(i) for i, w in zip(answer.ids, answer.weights, strict=True) if w]
    assert trained == ["Y", "e", "s", "</s>"]


def test_a_tokenizer_of_words_needs_the_template_s_words() -> None:
    fits = words("<|user|> <|assistant|> <|system|> a b")
    assert text(ChatTemplate.load(fits, "tulu"), [{**m, "content": "a b"} for m in TALK]).split() == [
        "<|user|>",
        "a",
        "b",
        "<|assistant|>",
        "a",
        "b",
        "</s>",
    ]
    with pytest.raises(BactrianError, match=r"no tokens for '<\|system\|>\\n', which it writes: found '<unk>'"):
        ChatTemplate.load(words("<|user|> <|assistant|> a b"), "tulu")
    with pytest.raises(BactrianError, match="does not end in a special token"):
        ChatTemplate.load(fits, "chatml")


def test_names(tiny: PreTrainedTokenizerFast) -> None:
    tiny.chat_template = None
    assert template_for(tiny) == "tulu"
    with pytest.raises(
        BactrianError, match=r"chat template 'model': the tokenizer of .* has none; name one of tulu, raw"
    ):
        ChatTemplate.load(tiny)
    with pytest.raises(BactrianError, match=r"chat template 'tülu': expected model, tulu, .* Jinja text"):
        ChatTemplate.load(tiny, "tülu")
    tiny.chat_template = chatml()
    assert template_for(tiny) == "model" and ChatTemplate.load(tiny).end_ids == (3, 1)


def test_digest_follows_whatever_shapes_a_token(tiny: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tulu = ChatTemplate.load(tiny, "tulu")
    tiny.chat_template = tulu.text
    tiny.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    again(["x" * 50], truncation=True, max_length=4)  # a use that leaves its mark on the tokenizer
    assert ChatTemplate.load(again).digest == tulu.digest
    assert render(TALK, ChatTemplate.load(again)) == render(TALK, tulu)
    again.add_tokens(["zebra"])
    others = [
        tulu,
        ChatTemplate.load(again),
        ChatTemplate.load(tiny, "raw"),
        ChatTemplate.load(byte_bpe(bos=True), "tulu"),
    ]
    others.append(ChatTemplate.load(byte_bpe(eos_token="<|im_end|>"), "tulu"))
    assert len({template.digest for template in others}) == 5


def test_import_loads_no_transformers() -> None:
    code = "import sys, bactrian.chat; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'tokenizers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
