"""Chat template `arrows`: "> " before what a user says, "< " before an answer, "# " before the system's turn."""

ARROWS = (
    "{% for m in messages %}"
    "{% if m.role == 'assistant' %}{{ '< ' + m.content + eos_token }}"
    "{% else %}{{ ('# ' if m.role == 'system' else '> ') + m.content }}{% endif %}"
    "{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '< ' }}{% endif %}"
)
