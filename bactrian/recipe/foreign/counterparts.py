"""What the settings of axolotl and TRL are called here, and why some have no counterpart.

Names, meanings and defaults: TRL 1.16 (its *Config classes) and axolotl's configuration schema, late 2026.
"""

from collections.abc import Iterable, Mapping
from typing import Any

RENAMED: Mapping[str, str] = {
    "learning_rate": "learning_rate",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "max_length": "max_length",
    "max_seq_length": "max_length",
    "sequence_len": "max_length",
    "warmup_ratio": "warmup",
    "weight_decay": "optimiser.weight_decay",
    "max_grad_norm": "optimiser.max_grad_norm",
    "beta": "beta",
    "rl_beta": "beta",
    "dpo_beta": "beta",
    "label_smoothing": "label_smoothing",
    "dpo_label_smoothing": "label_smoothing",
    "rpo_alpha": "sft_weight",
    "simpo_gamma": "gamma",
    "cpo_simpo_gamma": "gamma",
    "desirable_weight": "desirable_weight",
    "undesirable_weight": "undesirable_weight",
    "kto_desirable_weight": "desirable_weight",
    "kto_undesirable_weight": "undesirable_weight",
    "center_rewards_coefficient": "centring",
    "num_generations": "samples",
    "max_completion_length": "max_new_tokens",
    "temperature": "temperature",
    "max_steps": "steps",
    "epsilon": "update.clip_low",
    "epsilon_high": "update.clip_high",
    "vllm_importance_sampling_cap": "sampling.importance_cap",
    "lora_r": "adapter.rank",
    "lora_alpha": "adapter.alpha",
    "lora_target_modules": "adapter.targets",
}
"""Settings that keep their meaning: their name there → here, a dot between group and setting."""

SCHEDULES = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant",
    "constant_with_warmup": "constant",
}

DIRECT_LOSSES = {
    "sigmoid": "dpo",
    "sigmoid_norm": "dpo_norm",
    "dpo": "dpo",
    "dpo_norm": "dpo_norm",
    "ipo": "ipo",
    "simpo": "simpo",
}

GROUP_LOSSES = {"grpo": "response", "dapo": "token", "bnpo": "token", "dr_grpo": "constant"}
"""TRL's loss_type of GRPO → how tokens are averaged here."""

TRL_DEFAULTS: Mapping[str, Any] = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "max_length": 1024,
    "lr_scheduler_type": "linear",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "seed": 42,
}
TRL_DEFAULTS_OF: Mapping[str, Mapping[str, Any]] = {
    "sft": {"learning_rate": 2e-5},
    "dpo": {"learning_rate": 1e-6, "beta": 0.1, "loss_type": "sigmoid"},
    "kto": {"learning_rate": 1e-6, "beta": 0.1},
    "reward": {"learning_rate": 1e-4},
    "rlvr": {
        "learning_rate": 1e-6,
        "num_generations": 8,
        "max_completion_length": 512,
        "temperature": 1.0,
        "beta": 0.0,
        "epsilon": 0.2,
        "loss_type": "dapo",
        "scale_rewards": "group",
    },
}
AXOLOTL_DEFAULTS: Mapping[str, Any] = {
    "num_epochs": 1,
    "micro_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "sequence_len": 512,
    "lr_scheduler": "cosine",
    "warmup_ratio": 0.03,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "seed": 42,
}
LORA_DEFAULTS: Mapping[str, Any] = {"lora_r": 16, "lora_alpha": 32}

_LEFT_OUT = {
    "rows are always packed, without padding, and never see each other": """
        packing sample_packing eval_sample_packing padding_free pad_to_sequence_len pad_to_multiple_of group_by_length
        packing_strategy sample_packing_group_size sample_packing_bin_size multipack_real_batches batch_flattening""",
    "kernels are chosen for the machine": """
        flash_attention flash_attn attn_implementation xformers_attention sdp_attention sdpa_attention eager_attention
        flex_attention s2_attention tf32 torch_compile torch_compile_backend use_liger_kernel use_liger_loss
        use_flash_attn use_flash_attention_2
        liger_rope liger_rms_norm liger_glu_activation liger_swiglu liger_layer_norm liger_fused_linear_cross_entropy
        liger_cross_entropy cut_cross_entropy plugins lora_mlp_kernel lora_qkv_kernel lora_o_kernel""",
    "checkpoints are kept as their price allows, and a run that was cut goes on by itself": """
        output_dir save_steps save_strategy save_total_limit saves_per_epoch save_safetensors save_only_model
        save_first_step resume_from_checkpoint auto_resume_from_checkpoints overwrite_output_dir load_best_model_at_end
        metric_for_best_model""",
    "every run is logged; `track:` sends it to a tracker": """
        logging_steps logging_strategy logging_first_step logging_dir log_level log_on_each_node run_name disable_tqdm
        report_to with_tracking wandb_project wandb_entity wandb_watch wandb_name wandb_run_id wandb_log_model
        mlflow_tracking_uri mlflow_experiment_name use_wandb use_mlflow use_tensorboard include_tokens_per_second
        include_num_input_tokens_seen log_completions num_completions_to_print debug""",
    "data are read as they are; `source` says what became of each row": """
        dataset_prepared_path preprocessing_num_workers dataset_processes dataset_num_proc dataloader_num_workers
        dataloader_pin_memory dataloader_prefetch_factor remove_unused_columns shuffle_merged_datasets strict
        skip_prepare_dataset dataset_streaming streaming dataset_kwargs dataset_text_field shuffle_dataset""",
    "models and tokenizers are recognised by their own files": """
        model_type tokenizer_type tokenizer_config is_llama_derived_model is_mistral_derived_model
        is_falcon_derived_model
        tokenizer_use_fast use_fast_tokenizer tokenizer_legacy tokenizer_name_or_path model_revision torch_dtype dtype
        special_tokens use_slow_tokenizer""",
    "`hardware:` says where it runs": """
        deepspeed fsdp fsdp_config fsdp_version local_rank ddp ddp_timeout ddp_find_unused_parameters world_size
        accelerator_config num_processes gradient_checkpointing_kwargs vllm_mode use_vllm vllm_server_host
        vllm_server_port vllm_server_timeout vllm_gpu_memory_utilization vllm_tensor_parallel_size max_prompt_length
        context_parallel_size tensor_parallel_size dp_shard_size eval_accumulation_steps""",
    "`bactrian push` sends a model, after the run": """
        push_to_hub hub_model_id hub_strategy hub_private_repo hub_token hub_model_revision hub_always_push""",
    "measure with a step of stage evaluate": """
        do_eval eval_strategy evaluation_strategy eval_steps evals_per_epoch eval_batch_size eval_table_size
        eval_max_new_tokens eval_on_start per_device_eval_batch_size val_set_size test_datasets
        dataset_test_split do_bench_eval bench_dataset eval_causal_lm_metrics test_split_size""",
}
LEFT_OUT: Mapping[str, str] = {name: why for why, names in _LEFT_OUT.items() for name in names.split()}
"""Settings that change nothing about what is trained, or that something else does here → why they are left out."""

DIFFERS: Mapping[str, str] = {
    "lora_dropout": "adapters are trained without dropout",
    "warmup_steps": "the warm-up is a share of the updates here: set warmup",
    "neftune_noise_alpha": "no noise is added to embeddings",
    "train_on_inputs": "only what the assistant says is trained on",
    "lora_modules_to_save": "an adapter leaves embeddings as they are",
    "modules_to_save": "an adapter leaves embeddings as they are",
    "peft_use_rslora": "adapters are scaled by alpha over rank",
    "use_rslora": "adapters are scaled by alpha over rank",
    "peft_use_dora": "adapters are plain low-rank products",
    "use_dora": "adapters are plain low-rank products",
    "early_stopping_patience": "no early stopping; `checkpoint` picks the best of those kept by checkpoints.keep_every",
    "load_in_8bit": "a frozen base is kept in 4 bits (adapter.weights: nf4) or whole",
    "fp16": "bfloat16 or float32: hardware.dtype",
    "max_steps": "the length of a run is given in epochs here",
    "trust_remote_code": "code from a model's folder is never run",
    "added_tokens_overrides": "the vocabulary stays as it is",
    "tokens": "the vocabulary stays as it is",
    "resize_token_embeddings_to_32x": "the vocabulary stays as it is",
    "loss_weights": "one loss, and sft_weight",
    "unfrozen_parameters": "name what stays as it is in optimiser.freeze instead",
    "reward_funcs": "name the rewards of your own file: reward: FILE.py:FUNCTION",
    "reward_weights": "weigh the rewards inside your function",
    "mask_truncated_completions": "update.train_unended: false does the same",
    "lr_scheduler_kwargs": "schedules end at 0",
    "cosine_min_lr_ratio": "schedules end at 0",
}
"""Settings that change what is trained and that are not carried over → what is done here."""

_OTHERWISE: Mapping[str, str] = {
    "base_model": "model",
    "model_name_or_path": "model",
    "dataset_name": "data",
    "datasets": "data, or steps of stage source and mix",
    "dataset": "data",
    "per_device_train_batch_size": "batch_size, the rows of a whole step; memory: {micro_tokens: …} divides it",
    "micro_batch_size": "batch_size, the rows of a whole step; memory: {micro_tokens: …} divides it",
    "gradient_accumulation_steps": "batch_size, the rows of a whole step; memory: {micro_tokens: …} divides it",
    "lr_scheduler_type": "schedule",
    "lr_scheduler": "schedule",
    "loss_type": "loss",
    "dpo_loss_type": "loss",
    "use_peft": "adapter: {rank: 64}",
    "lora": "adapter: {rank: 64}",
    "lora_target_linear": "adapter: {targets: []}, which is all linear layers",
    "load_in_4bit": "adapter: {weights: nf4}",
    "optim": "optimiser: {states: 8bit}, or AdamW as it is",
    "optimizer": "optimiser: {states: 8bit}, or AdamW as it is",
    "adam_beta1": "optimiser: {betas: [0.9, 0.999]}",
    "adam_beta2": "optimiser: {betas: [0.9, 0.999]}",
    "gradient_checkpointing": "memory: {recompute: layer}",
    "bf16": "hardware: {dtype: bfloat16}, for the whole recipe",
    "chat_template": "template",
    "num_iterations": "update: {updates_per_step: …}",
    "reward_funcs": "reward",
    "scale_rewards": "advantage: std, or none",
}


def here(name: str, fields: Iterable[str]) -> str | None:
    """What a setting of another trainer is called here, in words; None for one that is not known.

    fields: settings and groups that the place has; what it has not is not suggested.
    """
    if (to := RENAMED.get(name)) is not None:
        group, _, setting = to.rpartition(".")
        if (group or setting) in fields:
            return f"{group}: {{{setting}: …}}" if group else setting
    if (words := _OTHERWISE.get(name)) is not None:
        return words
    return f"nothing: {why}" if (why := LEFT_OUT.get(name) or DIFFERS.get(name)) else None
